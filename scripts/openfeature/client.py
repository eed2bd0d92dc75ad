"""The OpenFeature client of Python against a running server. usage: client.py URL USERS

USERS is JSON: for each user whether `quality_mode` is on for him.
"""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

url, users = sys.argv[1], json.loads(sys.argv[2])
api.set_provider_and_wait(OFREPProvider(url))
client = api.get_client()
results = []


def check(what, found, expected):
    results.append(found == expected)
    if found != expected:
        print(f"  failed: {what}: expected {expected}, found {found}")


def details(flag, default, user=None):
    return client.get_boolean_details(flag, default, EvaluationContext(user, {"country": "NZ"}))


fixed = details("caching", False)
check("a flag that is on", (fixed.value, fixed.reason, fixed.variant), (True, Reason.STATIC, "on"))
check("its metadata", fixed.flag_metadata, {"source": "default", "rollout_percentage": 100, "revision": 1})
off = details("performance_mode", True, "alice")
check("a flag that is off", (off.value, off.reason, off.variant), (False, Reason.DISABLED, "off"))

for user, expected in users.items():
    split = details("quality_mode", not expected, user)
    variant = "on" if expected else "off"
    check(f"the flag of {user}", (split.value, split.reason, split.variant), (expected, Reason.SPLIT, variant))
check("that some users have it and some have not", set(users.values()), {True, False})

for default in [True, False]:
    unknown = details("turbo", default, "alice")
    found = (unknown.value, unknown.reason, unknown.error_code)
    check("an unknown flag", found, (default, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND))
    check("that it names the known ones", "`quality_mode`" in (unknown.error_message or ""), True)
    nobody = details("quality_mode", default)
    found = (nobody.value, nobody.reason, nobody.error_code)
    check("a flag that needs a user", found, (default, Reason.ERROR, ErrorCode.TARGETING_KEY_MISSING))
bad = details("quality_mode", True, "a\nb")
check("a user that is not one", (bad.value, bad.error_code), (True, ErrorCode.INVALID_CONTEXT))
text = client.get_string_details("caching", "default")
check("a flag of another type", (text.value, text.error_code), ("default", ErrorCode.TYPE_MISMATCH))

failed = results.count(False)
print(f"{len(results) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
