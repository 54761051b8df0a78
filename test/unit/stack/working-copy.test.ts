import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import type { Member } from "../../../src/lib/membership/records.ts";
import type { PoolLook } from "../../../src/lib/stack/federation-pools.ts";
import { type MastersSecret, renderMastersSecret } from "../../../src/lib/stack/federation-secrets.ts";
import { type EpochKeys, renderOtherEpochs } from "../../../src/lib/stack/other-epochs.ts";
import { envChanges, type MastersCopy, mastersCopy } from "../../../src/lib/stack/working-copy.ts";
import { property } from "../../support/property.ts";

function keysOf(epoch: number): EpochKeys {
  const secret = (letter: string): Secret => new Secret(`${letter}${epoch}.`.repeat(8));
  return {
    epoch,
    systemKey: secret("a"),
    jwtSecret: secret("b"),
    sessionSecret: secret("c"),
    encryptionKey: secret("d"),
  };
}

function secretOf(epoch: number): MastersSecret {
  const { epoch: _, ...keys } = keysOf(epoch);
  const certificate = `-----BEGIN CERTIFICATE-----\n${epoch}\n-----END CERTIFICATE-----\n`;
  return { ...keys, controlPlaneCa: { certificate, key: new Secret(`key of ${epoch}`) } };
}

/** `.env` of a box. @param inUse null: it has none of the keys */
function copyOf(inUse: number | null, others: readonly number[]): Parameters<typeof mastersCopy>[0] {
  const { epoch: _, ...keys } = keysOf(inUse ?? 0);
  const none = { systemKey: null, jwtSecret: null, sessionSecret: null, encryptionKey: null };
  const rest = { postgresPassword: null, clusterSecret: null, swarmKey: null, pinServiceSecret: null };
  const otherMasterSecrets = others.length === 0 ? null : renderOtherEpochs(others.map(keysOf));
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- no other path is looked at
  const paths = { envFile: "/base/.env" } as Parameters<typeof mastersCopy>[0]["paths"];
  return { secrets: { ...rest, ...(inUse === null ? none : keys), otherMasterSecrets }, paths };
}

/** The pool as box `own` sees it. @param applied by the other masters, 0 = nothing yet @param sealed epochs sealed to it */
function lookOf(epoch: number, applied: readonly number[], sealed: readonly number[]): PoolLook {
  const joinedAt = "2026-11-20T03:00:00.000Z";
  const member = (name: string, appliedEpoch: number): Member => ({
    pool: "masters",
    endpoint: name,
    name,
    role: "member",
    joinedAt,
    appliedEpoch,
  });
  return {
    pool: { id: "masters", name: "", encrypted: true, owner: "own", epoch, createdAt: joinedAt },
    members: [member("own", 0), ...applied.map((each, at) => member(`other-${at}`, each))],
    secrets: sealed
      .toSorted((a, b) => b - a)
      .map((each) => ({ epoch: each, secret: renderMastersSecret(secretOf(each)) })),
  };
}

function decide(
  copy: Parameters<typeof mastersCopy>[0],
  look: PoolLook | null,
  forgetOld = false,
): { readonly inUse: number; readonly others: readonly number[] } | null {
  const decided = mastersCopy(copy, look, "own", { forgetOld });
  return decided === null ? null : { inUse: decided.inUse, others: decided.others.map(({ epoch }) => epoch) };
}

describe("what a master works with", () => {
  test.each([
    ["one by itself takes a rekey up at once, and goes on reading the old", 1, [], 2, [], [1, 2], 2, [1]],
    ["one of two reads the new, and uses the old until the other reads it", 1, [], 2, [1], [1, 2], 1, [2]],
    ["the second one uses the new: the first reads it", 1, [], 2, [2], [1, 2], 2, [1]],
    ["the first one's second round", 1, [2], 2, [2], [1, 2], 2, [1]],
    ["one who belongs and has put nothing to use holds nobody back", 1, [], 2, [0], [1, 2], 2, [1]],
    ["the slowest of several decides", 3, [2], 4, [4, 3], [1, 2, 3, 4], 3, [4, 2]],
    ["it never goes back, whatever a newcomer says", 3, [], 3, [2], [1, 2, 3], 3, []],
    ["one without .env takes all that is sealed to it", null, [], 3, [3], [2, 3], 3, [2]],
    ["one that was admitted late knows of before by its token", 2, [1], 2, [2], [2], 2, [1]],
  ] as const)("%s", (_, inUse, others, epoch, applied, sealed, wanted, read) => {
    expect(decide(copyOf(inUse, others), lookOf(epoch, applied, sealed))).toEqual({ inUse: wanted, others: read });
  });

  test("forgets what is older when it is told to, and nothing that others may come to use", () => {
    expect(decide(copyOf(2, [1]), lookOf(2, [2], [1, 2]), true)).toEqual({ inUse: 2, others: [] });
    expect(decide(copyOf(1, [2]), lookOf(2, [1], [1, 2]), true)).toEqual({ inUse: 1, others: [2] });
    expect(decide(copyOf(2, []), lookOf(2, [2], [1, 2]))).toEqual({ inUse: 2, others: [] });
  });

  test("is nothing where the pool is not there, or a rekey has left the box out", () => {
    expect(decide(copyOf(1, []), null)).toBeNull();
    expect(decide(copyOf(1, []), lookOf(2, [], [1]))).toBeNull();
  });

  test("is refused where .env is of no epoch, and the refusal names secrets and shows none", () => {
    const error: unknown = (() => {
      try {
        return decide(copyOf(9, []), lookOf(2, [], [1, 2]));
      } catch (caught) {
        return caught;
      }
    })();
    if (!isFulaError(error, "FULA_SECRETS_DIFFER")) throw error;
    expect(error.message).toContain("SYSTEM_KEY, JWT_SECRET, SESSION_SECRET, ENCRYPTION_KEY of /base/.env");
    expect(`${error.message}${error.hint}`).not.toMatch(/[abcd]9\./);
  });

  test("trusts the authorities of all its epochs, that of the one in use first, and signs with its key", () => {
    const decided = mastersCopy(copyOf(1, []), lookOf(2, [1], [1, 2]), "own", { forgetOld: false });
    expect(decided?.authority?.certificate.match(/\d/g)).toEqual(["1", "2"]);
    expect(decided?.authority?.key.reveal()).toBe("key of 1");
  });

  test("is written to .env by name, and only where it differs", () => {
    const looks = { masters: null, cluster: null, swarm: null };
    const copy = copyOf(1, []);
    const changesFor = (masters: MastersCopy | null): readonly string[] =>
      Object.keys(envChanges(copy, masters, looks));
    expect(changesFor(mastersCopy(copy, lookOf(1, [], [1]), "own", { forgetOld: false }))).toEqual([]);
    expect(changesFor(mastersCopy(copy, lookOf(2, [1], [1, 2]), "own", { forgetOld: false }))).toEqual([
      "OTHER_MASTER_SECRETS",
    ]);
    expect(changesFor(mastersCopy(copy, lookOf(2, [2], [1, 2]), "own", { forgetOld: false }))).toEqual([
      "SYSTEM_KEY",
      "JWT_SECRET",
      "SESSION_SECRET",
      "ENCRYPTION_KEY",
      "OTHER_MASTER_SECRETS",
    ]);
  });
});

/** A master of the model: what its `.env` has, and what it has written into the pool. */
interface Box {
  inUse: number;
  others: readonly number[];
  applied: number;
}

test("whatever order masters sync in, and whenever a rekey is allowed, each reads what every other seals", () => {
  const act = fc.oneof(fc.record({ sync: fc.nat(3) }), fc.constant({ rekey: true }));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.array(act, { maxLength: 40 }), (count, acts) => {
      const boxes: Box[] = Array.from({ length: count }, () => ({ inUse: 1, others: [], applied: 1 }));
      let epoch = 1;
      for (const each of acts) {
        if ("rekey" in each) {
          if (boxes.every(({ applied }) => applied === epoch)) epoch += 1;
        } else {
          const box = boxes[each.sync % count];
          if (box === undefined) continue;
          const applied = boxes.filter((other) => other !== box).map((other) => other.applied);
          const sealed = Array.from({ length: epoch }, (_, at) => at + 1);
          const decided = decide(copyOf(box.inUse, box.others), lookOf(epoch, applied, sealed));
          if (decided === null) throw new Error("A member was left out");
          Object.assign(box, decided, { applied: epoch });
        }
        for (const sealer of boxes) {
          for (const reader of boxes) expect([reader.inUse, ...reader.others]).toContain(sealer.inUse);
        }
      }
    }),
    property(100),
  );
});
