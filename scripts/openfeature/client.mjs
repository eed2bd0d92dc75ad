// The OpenFeature client of Node.js against a running server. usage: client.mjs URL USERS
//
// USERS is JSON: for each user whether `quality_mode` is on for him.

import { isDeepStrictEqual } from "node:util";
import { OFREPApi } from "@openfeature/ofrep-core";
import { OFREPProvider } from "@openfeature/ofrep-provider";
import { ErrorCode, OpenFeature, StandardResolutionReasons } from "@openfeature/server-sdk";

const [url, users] = [process.argv[2], JSON.parse(process.argv[3])];
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url }));
const client = OpenFeature.getClient();
const { DISABLED, ERROR, SPLIT, STATIC } = { STATIC: "STATIC", ...StandardResolutionReasons };
// Its log of expected failures is not of interest.
client.setLogger({ error() {}, warn() {}, info() {}, debug() {} });
const results = [];

function check(what, found, expected) {
  results.push(isDeepStrictEqual(found, expected));
  if (!results.at(-1)) {
    console.log(`  failed: ${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
  }
}

function details(flag, fallback, user) {
  return client.getBooleanDetails(flag, fallback, { country: "NZ", ...(user && { targetingKey: user }) });
}

const fixed = await details("caching", false);
check("a flag that is on", [fixed.value, fixed.reason, fixed.variant], [true, STATIC, "on"]);
check("its metadata", { ...fixed.flagMetadata }, { source: "default", rollout_percentage: 100, revision: 1 });
const off = await details("performance_mode", true, "alice");
check("a flag that is off", [off.value, off.reason, off.variant], [false, DISABLED, "off"]);

for (const [user, expected] of Object.entries(users)) {
  const split = await details("quality_mode", !expected, user);
  const variant = expected ? "on" : "off";
  check(`the flag of ${user}`, [split.value, split.reason, split.variant], [expected, SPLIT, variant]);
}

for (const fallback of [true, false]) {
  const unknown = await details("turbo", fallback, "alice");
  const found = [unknown.value, unknown.reason, unknown.errorCode];
  check("an unknown flag", found, [fallback, ERROR, ErrorCode.FLAG_NOT_FOUND]);
  check("that it names the known ones", unknown.errorMessage?.includes("`quality_mode`"), true);
  const nobody = await details("quality_mode", fallback);
  const missing = [nobody.value, nobody.reason, nobody.errorCode];
  check("a flag that needs a user", missing, [fallback, ERROR, ErrorCode.TARGETING_KEY_MISSING]);
}
const bad = await details("quality_mode", true, "a\nb");
check("a user that is not one", [bad.value, bad.errorCode], [true, ErrorCode.INVALID_CONTEXT]);
const text = await client.getStringDetails("caching", "default", {});
check("a flag of another type", [text.value, text.errorCode], ["default", ErrorCode.TYPE_MISMATCH]);

// All flags at once, as clients in browsers ask for them.
const api = new OFREPApi(url);
const context = { targetingKey: "user-1" };
const all = await api.postBulkEvaluateFlags({ context });
check("all flags", [all.httpStatus, all.value.flags.length], [200, 9]);
check("one of them", all.value.flags.find((flag) => flag.key === "quality_mode").value, users["user-1"]);
const headers = { "If-None-Match": all.httpResponse.headers.get("etag") };
check("all flags again", (await api.postBulkEvaluateFlags({ context }, { headers })).httpStatus, 304);
const other = await api.postBulkEvaluateFlags({ context: { targetingKey: "user-2" } }, { headers });
check("all flags of another user", other.httpStatus, 200);
const nobody = await api.postBulkEvaluateFlags({ context: {} });
const failures = nobody.value.flags.filter((flag) => flag.errorCode).map((flag) => [flag.key, flag.errorCode]);
check("all flags of nobody", failures, [["quality_mode", "TARGETING_KEY_MISSING"]]);

const failed = results.filter((passed) => !passed).length;
console.log(`${results.length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
