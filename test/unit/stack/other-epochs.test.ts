import { describe, expect, test } from "vitest";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import {
  type MastersSecret,
  parseMastersSecret,
  parseNetworkKey,
  renderMastersSecret,
} from "../../../src/lib/stack/federation-secrets.ts";
import { otherEpochs, otherKeys, renderOtherEpochs, sealerOf } from "../../../src/lib/stack/other-epochs.ts";

function keysOf(digit: string): MastersSecret {
  const secret = (letter: string): Secret => new Secret(`${letter}${digit}`.repeat(32));
  return {
    systemKey: secret("a"),
    jwtSecret: secret("b"),
    sessionSecret: secret("c"),
    encryptionKey: secret("d"),
    controlPlaneCa: null,
  };
}

function secretsWith(otherMasterSecrets: Secret | null): Parameters<typeof sealerOf>[0] {
  const { systemKey, jwtSecret, sessionSecret, encryptionKey } = keysOf("1");
  const rest = { postgresPassword: null, clusterSecret: null, swarmKey: null, pinServiceSecret: null };
  return { systemKey, jwtSecret, sessionSecret, encryptionKey, otherMasterSecrets, ...rest };
}

function refusalOf(act: () => unknown): { readonly code: string; readonly message: string } {
  try {
    act();
  } catch (error) {
    if (isFulaError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error("It was not refused");
}

describe("the secret of the pool masters", () => {
  test("reads back as it was sealed, with the authority of the control plane and without one", () => {
    const ca = { certificate: "-----BEGIN CERTIFICATE-----\n", key: new Secret("the key") };
    for (const controlPlaneCa of [null, ca]) {
      const secret = { ...keysOf("1"), controlPlaneCa };
      const read = parseMastersSecret(renderMastersSecret(secret));
      expect(renderMastersSecret(read).reveal()).toBe(renderMastersSecret(secret).reveal());
      expect(read.controlPlaneCa?.key.reveal()).toBe(controlPlaneCa?.key.reveal());
    }
  });

  test("of another form is refused, and nothing of it is in the message", () => {
    for (const text of ["hunter2 is no JSON", '{"systemKey":"hunter2"}', "{}"]) {
      const { code, message } = refusalOf(() => parseMastersSecret(new Secret(text)));
      expect(code).toBe("FULA_CONTROL_PLANE_UNREADABLE");
      expect(message).not.toContain("hunter2");
    }
    expect(refusalOf(() => parseNetworkKey("swarm", new Secret("hunter2"))).code).toBe("FULA_CONTROL_PLANE_UNREADABLE");
  });
});

describe("keys of other epochs", () => {
  test("read back from .env, the newest first", () => {
    const text = renderOtherEpochs([
      { epoch: 1, ...keysOf("2") },
      { epoch: 3, ...keysOf("3") },
    ]);
    expect(text.reveal()).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(otherEpochs(secretsWith(text)).map(({ epoch }) => epoch)).toEqual([3, 1]);
    expect(otherKeys(secretsWith(text), "jwtSecret").map((key) => key.reveal())).toEqual([
      "b3".repeat(32),
      "b2".repeat(32),
    ]);
    expect(otherKeys(secretsWith(null), "jwtSecret")).toEqual([]);
  });

  test("that nobody of ours wrote are refused, and never taken for none", () => {
    for (const text of ["", "hunter2", Buffer.from('[{"epoch":0}]').toString("base64url")]) {
      expect(refusalOf(() => otherEpochs(secretsWith(new Secret(text)))).code).toBe("FULA_ENV_VALUE");
    }
  });

  test("open what was sealed before a rekey and by whoever is through with it, and seal nothing", () => {
    const sealed = ["2", "3"].map((digit) => {
      const own = { ...secretsWith(null), encryptionKey: keysOf(digit).encryptionKey };
      return sealerOf(own, "signing keys").seal(new Secret(digit), "row", systemRandom);
    });
    const others = renderOtherEpochs([
      { epoch: 3, ...keysOf("3") },
      { epoch: 1, ...keysOf("2") },
    ]);
    const sealer = sealerOf(secretsWith(others), "signing keys");
    expect(sealed.map((each) => sealer.open(each, "row").reveal())).toEqual(["2", "3"]);
    const own = sealer.seal(new Secret("own"), "row", systemRandom);
    expect(sealerOf(secretsWith(null), "signing keys").open(own, "row").reveal()).toBe("own");
  });
});
