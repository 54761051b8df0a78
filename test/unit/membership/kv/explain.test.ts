import { JetStreamApiError } from "@nats-io/jetstream";
import { expect, test } from "vitest";
import { isWorthAnotherAttempt } from "../../../../src/lib/membership/kv/budget.ts";
import { explainNatsError } from "../../../../src/lib/membership/kv/explain.ts";

function explained(code: number): unknown {
  const error = new JetStreamApiError({ code: 500, err_code: code, description: "what the server says" });
  return explainNatsError(error, "have 3 servers hold bucket b", "192.0.2.1:4222");
}

test.each([
  ["no leader", 10_008, /it has no leader \(what the server says\)/],
  ["a stream that moves", 10_124, /another change of its servers is under way/],
  ["a change of members under way", 10_202, /another change of its servers is under way/],
  ["no room", 10_047, /no room/],
  ["too few servers", 10_005, /fewer servers have found one another/],
])("%s passes, and is worth another attempt", (_title, code, message) => {
  const error = explained(code);
  expect(error).toMatchObject({ code: "FULA_CONTROL_PLANE_UNREACHABLE", message: expect.stringMatching(message) });
  expect(isWorthAnotherAttempt(error)).toBe(true);
});

test("an answer that nobody knows is told as it is, and not waited out", () => {
  const error = explained(10_999);
  expect(error).toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE", details: { code: 10_999 } });
  expect(isWorthAnotherAttempt(error)).toBe(false);
});
