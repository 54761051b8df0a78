import { createHash, createHmac } from "node:crypto";
import type { Clock } from "../kernel/clock.ts";
import type { Secret } from "../kernel/secret.ts";
import type { CallerScope, Verdict, Verifier } from "./bearer.ts";
import { equalsSecretly } from "./signature.ts";
import { parseSubject, type Subject } from "./subject.ts";

/** A gateway acts for its user: it asks for the quota and pins what the user stored. */
const SERVICE_SCOPES: ReadonlySet<CallerScope> = new Set<CallerScope>(["read", "write"]);

const FORM = /^v1\.([A-Za-z0-9_-]{1,512})\.(\d{1,12})\.([A-Za-z0-9_-]{43})$/;

function refused(because: string): Verdict {
  return { state: "refused", because };
}

function subjectOf(part: string): Subject | null {
  try {
    return parseSubject(Buffer.from(part, "base64url").toString("utf8"));
  } catch {
    return null;
  }
}

function verifyHeader(header: string, secret: Secret, nowMs: number): Verdict {
  const match = FORM.exec(header);
  if (match === null) return refused("X-Fula-Service-Auth is not v1.<user>.<expiry>.<signature>");
  const [, user = "", expiry = "", signature = ""] = match;
  const expected = createHmac("sha256", secret.reveal()).update(`v1.${user}.${expiry}`).digest("base64url");
  if (!equalsSecretly(signature, expected)) return refused("the signature of X-Fula-Service-Auth is wrong");
  if (Number(expiry) * 1_000 <= nowMs) return refused("X-Fula-Service-Auth has expired");
  const subject = subjectOf(user);
  if (subject === null) return refused("X-Fula-Service-Auth names no user");
  const credential = {
    digest: createHash("sha256").update(header, "utf8").digest("hex"),
    issuedMs: null,
    expiresMs: Number(expiry) * 1_000,
  };
  return { state: "accepted", identity: { subject, scopes: SERVICE_SCOPES, by: "service", credential } };
}

/**
 * Verifies what the fleet's gateways send for their users:
 * `v1.<base64url user>.<expiry, seconds>.<base64url HMAC-SHA256 of all before it>`. A bearer token beside it goes first.
 * @param secret FULA_PIN_SERVICE_SECRET; null refuses every such header
 */
export function serviceVerifier(secret: Secret | null, clock: Clock): Verifier {
  return {
    verify: async ({ bearer, serviceAuth }) => {
      await Promise.resolve();
      if (serviceAuth === null || bearer !== null) return { state: "absent" };
      if (secret === null) return refused("this master has no FULA_PIN_SERVICE_SECRET");
      return verifyHeader(serviceAuth, secret, clock.nowMs());
    },
  };
}
