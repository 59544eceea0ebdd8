"""Audience tests as asset checks of a selection (X5).

None of them is blocking in Dagster's own sense: that would keep the send's ops from running, and nobody would find in
the ledger why they were not mailed. The send reads the results itself.
"""

import dagster as dg

from smp_pipelines.assets.charts import table
from smp_pipelines.selection.audience_tests.files import AudienceTest
from smp_pipelines.selection.audience_tests.running import Result


def audience_test_spec(key: dg.AssetKey, test: AudienceTest) -> dg.AssetCheckSpec:
    """The check of a test on the asset of its selection."""
    words = f"{test.words}. When this fails, nothing is sent" if test.blocking else test.words
    return dg.AssetCheckSpec(test.name, asset=key, description=words)


def audience_test_result(result: Result) -> dg.AssetCheckResult:
    """What a test found: how many rows offend, the ids of the first people, and the figures."""
    metadata: dict[str, dg.MetadataValue | int | str] = {"found": result.detail, "offending rows": result.offending}
    if result.person_ids:
        metadata["first people"] = table(("person_id",), [(person,) for person in result.person_ids])
    return dg.AssetCheckResult(
        check_name=result.test,
        passed=result.passed,
        severity=dg.AssetCheckSeverity.ERROR if result.blocking else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=result.detail if result.passed else f"{result.words}: {result.detail}",
    )
