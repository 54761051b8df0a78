import { createCipheriv, hkdfSync } from "node:crypto";
import { expect, test } from "vitest";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { type BundleControlPlane, openBundle, sealBundle } from "../../../src/lib/membership/join-bundle.ts";
import type { JoinToken } from "../../../src/lib/membership/join-token.ts";
import { makeBundle } from "../../support/federation.ts";

const token: JoinToken = {
  role: "master",
  id: "3d1f0c5e-7a52-4f5e-9c11-6f0f7f1f2a3b",
  expiresAtMs: Date.UTC(2026, 11, 1),
  body: new Secret("7".repeat(64)),
};

const CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

test.each<BundleControlPlane>([
  { mode: "sqlite" },
  {
    mode: "docker",
    routes: ["master-1.example.org:6222", "[2001:db8::7]:6222"],
    ca: { certificate: CERTIFICATE, key: new Secret("the key of the authority") },
  },
  { mode: "nats", servers: ["tls://nats-1.example.org:4222"], ca: null },
])("a bundle brings the way to a control plane of mode $mode as it was sealed", (controlPlane) => {
  const opened = openBundle(sealBundle(makeBundle({ controlPlane }), token, systemRandom), token);
  expect(opened.controlPlane).toEqual(controlPlane);
  if (controlPlane.mode !== "docker" || opened.controlPlane.mode !== "docker") return;
  expect(opened.controlPlane.ca.key.reveal()).toBe("the key of the authority");
});

test("a bundle without a swarm key opens, and one with it gives it", () => {
  for (const swarmKey of [null, new Secret("6".repeat(64))]) {
    const made = makeBundle();
    const sealed = sealBundle({ ...made, secrets: { ...made.secrets, swarmKey } }, token, systemRandom);
    expect(openBundle(sealed, token).secrets.swarmKey?.reveal()).toBe(swarmKey?.reveal());
  }
});

function refusalOf(sealed: Uint8Array): string {
  try {
    openBundle(sealed, token);
  } catch (error) {
    if (isFulaError(error, "FULA_TOKEN_INVALID")) return error.message;
    throw error;
  }
  throw new Error("The bundle opened");
}

test("a bundle that an older version made is refused with that reason, and its content in no message", () => {
  const key = new Uint8Array(hkdfSync("sha256", Buffer.alloc(32), token.id, "any", 32));
  const cipher = createCipheriv("aes-256-gcm", key, Buffer.alloc(12), { authTagLength: 16 });
  const body = Buffer.concat([cipher.update("{}"), cipher.final()]);
  const old = Buffer.concat([Buffer.of(1), Buffer.alloc(12), body, cipher.getAuthTag()]);
  expect(refusalOf(old)).toContain("an older fula-master made it (layout 1, not 2)");
  const newer = Buffer.from(old);
  newer[0] = 3;
  expect(refusalOf(newer)).toContain("a layout that this version does not know");
});

test("a route or an authority of another form than ours is refused, since it ends up in a server's configuration", () => {
  const ca = { certificate: CERTIFICATE, key: new Secret("k") };
  for (const controlPlane of [
    { mode: "docker", routes: ["host:6222\nauthorization: {}"], ca },
    { mode: "docker", routes: [], ca: { ...ca, certificate: "no certificate" } },
    { mode: "nats", servers: ["nats://user:password@host:4222"], ca: null },
  ] as const) {
    expect(refusalOf(sealBundle(makeBundle({ controlPlane }), token, systemRandom))).toContain("newer or older");
  }
});
