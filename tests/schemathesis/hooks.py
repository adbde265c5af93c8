"""Valid values of the formats that the OpenAPI document has of its own."""

import re
import uuid

import schemathesis
from hypothesis import strategies

# Short, for a request waits for as long; with the blank and the bare number that the format allows.
schemathesis.openapi.format("time-span", strategies.sampled_from(["1s", "1s 5ms", "1", "2sec"]))
# The one source of the configuration that the test makes.
schemathesis.openapi.format("source-name", strategies.just("main"))
schemathesis.openapi.format("cron", strategies.sampled_from(["0 3 * * *", "*/5 6-22 * * MON-FRI", "@daily"]))
schemathesis.openapi.format("time-zone", strategies.sampled_from(["UTC", "Asia/Seoul", "Europe/Vienna"]))
schemathesis.openapi.format("log-filter", strategies.sampled_from(["info", "warn", "info,rbac_sync::api=debug"]))
# The tag of the schedule is not known beforehand.
schemathesis.openapi.format("if-match", strategies.just("*"))
schemathesis.openapi.format("idempotency-key", strategies.uuids(version=4).map(str))


@schemathesis.hook
def before_call(context, case, kwargs):
    """A key is that of one request only, and one value is tried with many bodies: a right key is made new."""
    key = case.headers and case.headers.get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch(r'"[!#-\[\]-~]{1,128}"|[!#-\[\]-~]{1,128}', key):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
