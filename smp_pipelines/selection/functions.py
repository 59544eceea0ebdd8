"""The DuckDB functions that a selection may use, by the names that DuckDB's own parser gives them.

An allow-list: what is not here is refused, so a function that a later DuckDB adds is refused until somebody
has read what it does. Left out on purpose: whatever reads files, the network, settings, the environment, the
session or other tables (`query`, `query_table`); whatever is random; whatever reads the clock (clock.py puts
the run's moment in its place before this list is consulted); `list_aggregate`, which calls a function by name.
"""

from __future__ import annotations

_OPERATORS = "+ - * / // % ** ^ & | << >> ~ @ || ~~ !~~ ~~* !~~* ~~~ ^@ && @> <@ ->>"

_LOGIC = "nullif greatest least isnan isinf isfinite"

_NUMBERS = """
    abs add bit_count cbrt ceil ceiling divide even exp fdiv floor fmod gcd greatest_common_divisor lcm
    least_common_multiple ln log log10 log2 mod multiply pi pow power round round_even sign signbit sqrt
    subtract trunc xor
"""

_TEXT = """
    ascii bar bit_length char_length character_length chr concat concat_ws contains damerau_levenshtein
    editdist3 ends_with format from_hex hamming hash hex instr jaccard jaro_similarity
    jaro_winkler_similarity lcase left left_grapheme len length length_grapheme levenshtein like_escape
    ilike_escape not_like_escape not_ilike_escape lower lpad ltrim md5 md5_number mismatches nfc_normalize ord
    position prefix printf regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches
    regexp_replace regexp_split_to_array regexp_split_to_table repeat replace reverse right right_grapheme rpad rtrim
    sha1 sha256 split split_part str_split str_split_regex string_split string_split_regex string_to_array
    starts_with strip_accents strlen strpos substr substring substring_grapheme suffix to_hex translate trim
    ucase unicode upper
"""

_TIME = """
    age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname
    dayofmonth dayofweek dayofyear decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian
    last_day make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond
    millennium millisecond minute month monthname normalized_interval quarter second strftime strptime time_bucket
    timezone timezone_hour timezone_minute to_centuries to_days to_decades to_hours to_microseconds to_millennia
    to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years try_strptime week
    weekday weekofyear year yearweek nanosecond
"""

_LISTS = """
    array_contains array_extract array_has array_has_all array_has_any array_length array_position array_slice
    array_to_string array_value cardinality element_at flatten generate_series len list_append list_concat
    list_contains list_distinct list_extract list_filter list_has list_has_all list_has_any list_indexof
    list_intersect list_element list_pack list_position list_prepend list_reverse list_reverse_sort list_slice
    list_sort list_transform list_apply list_unique list_value list_zip map map_entries map_extract map_keys
    map_values range row struct_extract struct_pack unnest array_filter array_transform array_apply
"""

_JSON = """
    json_array_length json_contains json_exists json_extract json_extract_path json_extract_path_text
    json_extract_string json_keys json_type json_valid json_value
"""

_AGGREGATES = """
    any_value approx_count_distinct arbitrary arg_max arg_max_null arg_min arg_min_null argmax argmin array_agg avg
    bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif covar_pop covar_samp entropy
    favg first fsum geomean geometric_mean group_concat histogram kahan_sum kurtosis last list
    listagg mad max max_by mean median min min_by mode product quantile quantile_cont quantile_disc regr_slope
    skewness stddev stddev_pop stddev_samp string_agg sum sumkahan var_pop var_samp variance
"""

_WINDOWS = """
    cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense row_number
"""

FUNCTIONS = frozenset(
    name.lower()
    for group in (_OPERATORS, _LOGIC, _NUMBERS, _TEXT, _TIME, _LISTS, _JSON, _AGGREGATES, _WINDOWS)
    for name in group.split()
)

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest"})

# A column with one of these names that no table has is read by DuckDB as the function of that name, quoted or
# not: "current_date" between double quotes would be the real clock.
NAMES_THAT_ARE_FUNCTIONS = frozenset(
    {
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "localtime",
        "localtimestamp",
        "session_user",
        "user",
    }
)
