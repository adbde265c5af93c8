"""Valid values of the two formats that the OpenAPI document has of its own."""

import schemathesis
from hypothesis import strategies

# Short, for a request waits for as long; with the blank and the bare number that the format allows.
schemathesis.openapi.format("time-span", strategies.sampled_from(["1s", "20ms", "1s 5ms", "1", "2sec"]))
# The one source of the configuration that the test makes.
schemathesis.openapi.format("source-name", strategies.just("main"))
