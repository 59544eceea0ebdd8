-- Read a clean CSV file that delimited.py wrote (every field as text) into a table.
create table {table} as
from read_csv(
    {file}, header = false, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
    parallel = false, max_line_size = 16000000, columns = {columns}
);
