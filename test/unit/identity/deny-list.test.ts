import { describe, expect, test } from "vitest";
import type { DenialFact, DenialNews } from "../../../src/lib/identity/denial-table.ts";
import { createDenyList, type DenyList, type JudgedIdentity } from "../../../src/lib/identity/deny-list.ts";
import { FakeClock } from "../../support/clock.ts";

const USER = "a".repeat(64);
const WALLET = `0x${"b".repeat(40)}`;
const DIGEST = "c".repeat(64);
const MAX_AGE_MS = 30_000;

function ofUser(issuedMs: number | null, digest = "d".repeat(64)): JudgedIdentity {
  return { subject: { kind: "user", userId: USER }, by: "jwt", credential: { digest, issuedMs, expiresMs: null } };
}

function ofWallet(issuedMs: number | null): JudgedIdentity {
  return { ...ofUser(issuedMs), subject: { kind: "wallet", wallet: WALLET } };
}

function fact(kind: DenialFact["kind"], subject: string, issuedBeforeMs: number | null): DenialFact {
  return { kind, subject, issuedBeforeMs, sessionsBeforeMs: issuedBeforeMs, isLifted: false };
}

/** A ledger in memory: its denials with their revisions. */
class Ledger {
  origin = "1";
  revision = 0n;
  isSilent = false;
  readonly asked: bigint[] = [];
  readonly rows = new Map<string, DenialFact & { readonly revision: bigint }>();

  put(change: DenialFact): void {
    this.revision += 1n;
    this.rows.set(`${change.kind} ${change.subject}`, { ...change, revision: this.revision });
  }

  async read(after: bigint): Promise<DenialNews> {
    this.asked.push(after);
    await Promise.resolve();
    if (this.isSilent) throw new Error("no answer");
    const facts = [...this.rows.values()].filter((row) => row.revision > after && (after >= 0n || !row.isLifted));
    return { revision: this.revision, origin: this.origin, facts };
  }
}

interface Box {
  readonly ledger: Ledger;
  readonly clock: FakeClock;
  readonly list: DenyList;
}

function box(): Box {
  const ledger = new Ledger();
  const clock = new FakeClock();
  const readNews = async (after: bigint): Promise<DenialNews> => await ledger.read(after);
  return { ledger, clock, list: createDenyList({ readNews, clock, maxAgeMs: MAX_AGE_MS }) };
}

describe("the list of what was revoked", () => {
  test("denies one credential by its digest, and the one that a session was made from", async () => {
    const { ledger, list } = box();
    ledger.put(fact("digest", DIGEST, null));
    await list.refresh();
    expect(list.judge(ofUser(5, DIGEST))).toBe("denied");
    expect(list.judge(ofUser(5))).toBe("allowed");
    const { credential, ...other } = ofUser(5);
    expect(list.judge({ ...other, credential: { ...credential, madeFrom: DIGEST } })).toBe("denied");
  });

  test("denies everything of a user or a wallet that was issued before a time, and of nobody else", async () => {
    const { ledger, list } = box();
    ledger.put(fact("user", USER, 1_000));
    await list.refresh();
    expect([999, 1_000].map((ms) => list.judge(ofUser(ms)))).toEqual(["denied", "allowed"]);
    expect(list.judge(ofWallet(999))).toBe("allowed");
    ledger.put(fact("wallet", WALLET, 2_000));
    await list.refresh();
    expect([1_999, 2_000].map((ms) => list.judge(ofWallet(ms)))).toEqual(["denied", "allowed"]);
  });

  test("gives what the ledger has dated no margin for another clock", async () => {
    const { ledger, list } = box();
    ledger.put({ ...fact("user", USER, 301_000), sessionsBeforeMs: 1_000 });
    await list.refresh();
    const judged = [999, 1_000].map((ms) => list.judge({ ...ofUser(ms), by: "session" }));
    expect([...judged, list.judge(ofUser(1_000))]).toEqual(["denied", "allowed", "denied"]);
  });

  test("denies what does not say when it was issued, as if it had always been there", async () => {
    const { ledger, list } = box();
    ledger.put(fact("user", USER, 1));
    await list.refresh();
    expect(list.judge(ofUser(null))).toBe("denied");
  });

  test("lets in again what was lifted", async () => {
    const { ledger, list } = box();
    ledger.put(fact("digest", DIGEST, null));
    await list.refresh();
    ledger.put({ ...fact("digest", DIGEST, null), isLifted: true });
    await list.refresh();
    expect(list.judge(ofUser(5, DIGEST))).toBe("allowed");
    expect(ledger.asked).toEqual([-1n, 1n]);
  });

  test("lets nobody in before it was read, nor when it has not been for longer than the bound", async () => {
    const { ledger, clock, list } = box();
    const stale = expect.objectContaining({ code: "FULA_DENY_LIST_STALE" });
    expect(() => list.judge(ofUser(5))).toThrow(stale);
    await list.refresh();
    ledger.isSilent = true;
    clock.step(MAX_AGE_MS);
    await expect(list.refresh()).rejects.toThrow("no answer");
    expect(list.judge(ofUser(5))).toBe("allowed");
    clock.step(1);
    expect(() => list.judge(ofUser(5))).toThrow(stale);
    expect(list.state()).toEqual({ ageMs: MAX_AGE_MS + 1, entries: 0 });
    ledger.isSilent = false;
    await list.refresh();
    expect(list.judge(ofUser(5))).toBe("allowed");
  });

  test.each([
    ["went back to an older state", (ledger: Ledger) => (ledger.revision = 1n)],
    ["is another one, however far it has come", (ledger: Ledger) => (ledger.origin = "2")],
  ])("is read whole again where the ledger %s", async (_name, change) => {
    const { ledger, list } = box();
    ledger.put(fact("digest", DIGEST, null));
    ledger.put(fact("user", USER, 10));
    await list.refresh();
    ledger.rows.delete(`user ${USER}`);
    change(ledger);
    await list.refresh();
    expect(list.judge(ofUser(5))).toBe("allowed");
    expect(list.judge(ofUser(5, DIGEST))).toBe("denied");
    expect(ledger.asked.at(-1)).toBe(-1n);
  });

  test("is read whole every ten minutes, and forgets what has expired", async () => {
    const { ledger, clock, list } = box();
    ledger.put(fact("digest", DIGEST, null));
    await list.refresh();
    ledger.rows.clear();
    clock.step(599_999);
    await list.refresh();
    expect(list.state().entries).toBe(1);
    clock.step(1);
    await list.refresh();
    expect(list.state().entries).toBe(0);
  });

  test("is read one time after the other, so that no older answer takes the place of a newer one", async () => {
    const { ledger, list } = box();
    const gates: PromiseWithResolvers<void>[] = [];
    const slow = createDenyList({
      readNews: async (after) => {
        const news = await ledger.read(after);
        const gate = Promise.withResolvers<void>();
        gates.push(gate);
        await gate.promise;
        return news;
      },
      clock: new FakeClock(),
      maxAgeMs: MAX_AGE_MS,
    });
    await list.refresh();
    const first = slow.refresh();
    await new Promise((resolve) => setImmediate(resolve));
    ledger.put(fact("digest", DIGEST, null));
    const second = slow.refresh();
    await new Promise((resolve) => setImmediate(resolve));
    expect(gates).toHaveLength(1);
    gates[0]?.resolve();
    await first;
    await new Promise((resolve) => setImmediate(resolve));
    gates[1]?.resolve();
    await second;
    expect(slow.judge(ofUser(5, DIGEST))).toBe("denied");
  });
});
