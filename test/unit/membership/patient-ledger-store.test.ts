import { expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { patientLedgerStore } from "../../../src/lib/membership/patient-ledger-store.ts";
import { swapRecord } from "../../../src/lib/membership/ledger-swap.ts";
import type { LedgerStore } from "../../../src/lib/membership/ledger-records.ts";
import { EventClock } from "../../support/event-clock.ts";
import { newAttestation, newEpoch } from "../../support/ledger-records.ts";
import { MemoryLedger } from "../../support/memory-ledger-store.ts";

const UNREACHABLE = "FULA_CONTROL_PLANE_UNREACHABLE";
const PATIENCE_MS = 60_000;

/** A control plane that has no leader until `electedMs`, and what is said of it. */
function electing(electedMs: number, ledger = new MemoryLedger()) {
  const clock = new EventClock();
  const startMs = clock.monotonicMs();
  const said: string[] = [];
  const before = (): void => {
    if (clock.monotonicMs() - startMs >= electedMs) return;
    throw new FulaError(UNREACHABLE, "It has no leader.", { details: { silence: "no-quorum" } });
  };
  const patience = { clock, signal: new AbortController().signal, withinMs: PATIENCE_MS };
  const store = patientLedgerStore(ledger.open({ before }), { ...patience, onWait: (text) => said.push(text) });
  return { store, said, clock, patience, ledger };
}

test.each<[string, (store: LedgerStore) => Promise<unknown>]>([
  ["get", async (store) => await store.get("epoch")],
  ["confirm", async (store) => await store.confirm("epoch")],
  ["list", async (store) => await store.list("attest")],
  ["put", async (store) => await store.put("epoch", newEpoch(), 0)],
  ["remove", async (store) => await store.remove("session", 7, "fula-2")],
])("%s waits for an election, and says once for what", async (_name, ask) => {
  const { store, said } = electing(9_000);
  await ask(store);
  expect(said).toEqual(["waiting for the NATS servers to elect a leader"]);
});

test("a silence that is longer than the patience is told", async () => {
  const { store } = electing(PATIENCE_MS + 1_000);
  await expect(store.get("epoch")).rejects.toMatchObject({ code: UNREACHABLE });
});

test("a server that does not let this box in is not asked again", async () => {
  const { clock, patience, ledger } = electing(0);
  const before = (): void => {
    throw new FulaError(UNREACHABLE, "It does not let this box in.", { details: { refused: true } });
  };
  const startMs = clock.monotonicMs();
  await expect(patientLedgerStore(ledger.open({ before }), patience).get("epoch")).rejects.toMatchObject({
    code: UNREACHABLE,
  });
  expect(clock.monotonicMs()).toBe(startMs);
});

test("a write whose answer was lost is one's own; one over which somebody else wrote is not", async () => {
  const { patience, ledger } = electing(0);
  const lost = [true, false, true, false];
  const store = patientLedgerStore(ledger.open({ losesAnswer: () => lost.shift() === true }), patience);
  const attested = newAttestation("fula-2");
  const revision = await store.put("attest", attested, 0, "fula-2");
  expect(await store.get("attest", "fula-2")).toEqual({ revision, value: attested });
  // The answer is lost again, and this time somebody else writes before it is asked what became of it.
  const other = ledger.open();
  const racing = patientLedgerStore(
    {
      ...bound(ledger.open({ losesAnswer: () => lost.shift() === true })),
      confirm: async (kind, node) => {
        const now = await other.get("attest", "fula-2");
        await other.put("attest", newAttestation("fula-2"), now.revision, "fula-2");
        return await other.confirm(kind, node);
      },
    },
    patience,
  );
  lost.unshift(true);
  expect(await racing.put("attest", newAttestation("fula-2"), revision ?? 0, "fula-2")).toBeNull();
});

/** The operations of a store as fields, to replace some. */
function bound(store: LedgerStore): LedgerStore {
  return {
    get: async (kind, node) => await store.get(kind, node),
    confirm: async (kind, node) => await store.confirm(kind, node),
    list: async (kind) => await store.list(kind),
    put: async (kind, value, expected, node) => await store.put(kind, value, expected, node),
    remove: async (kind, expected, node) => await store.remove(kind, expected, node),
    listen: (onHint) => store.listen(onHint),
    close: async () => await store.close(),
    [Symbol.asyncDispose]: async () => await store.close(),
  };
}

test("a write that hangs between the servers is neither won nor lost: it is said that nobody knows", async () => {
  const { clock, patience, ledger } = electing(0);
  const hanging = { ...bound(ledger.open()), put: async () => await Promise.resolve(null) };
  const wish = { kind: "epoch", value: newEpoch(), expectedRevision: 0 } as const;
  await expect(swapRecord(hanging, wish, { clock, signal: patience.signal, patienceMs: 5_000 })).rejects.toMatchObject({
    code: UNREACHABLE,
  });
});
