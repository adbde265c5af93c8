"""Valid values of the formats that the OpenAPI document has of its own."""

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
# A key is that of one request only.
schemathesis.openapi.format("idempotency-key", strategies.builds(lambda: str(uuid.uuid4())))
