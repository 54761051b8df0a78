import type { CatchUpIO, Pin, RebuildIO, ReplicaProbe, StorageAdapter } from "../../../src/lib/recovery/adapters.ts";
import type { ReplicaId } from "../../../src/lib/recovery/types.ts";
import type { Ground } from "./adapters.ts";

/** What a simulation puts between the engine and the world. */
export interface Mutant {
  readonly storage: (storage: StorageAdapter) => StorageAdapter;
  readonly probe: (probe: ReplicaProbe) => ReplicaProbe;
  readonly io: (io: CatchUpIO & RebuildIO, ground: Ground, replicaId: ReplicaId) => CatchUpIO & RebuildIO;
}

/** Nothing. */
export const HONEST: Mutant = { storage: (storage) => storage, probe: (probe) => probe, io: (io) => io };

/** Broken executors and planners, each by one thing that it does not do. */
export const MUTANTS: Readonly<Record<string, Mutant>> = {
  "lets go of no pin after a thrown error": {
    ...HONEST,
    storage: (storage) => withPins(storage, (reason) => !reason.startsWith("injected")),
  },
  "lets go of no pin when its session ends under it": {
    ...HONEST,
    storage: (storage) => withPins(storage, (reason) => !reason.startsWith("session_invalidated")),
  },
  "goes on when the epoch was raised": {
    ...HONEST,
    io: (io) => withSignal(io, new AbortController().signal),
  },
  "skips the truncation": { ...HONEST, io: (io) => ({ ...io, truncate: async () => {} }) },
  "truncates what was applied already": {
    ...HONEST,
    probe: (probe) => ({
      handshake: async (signal) => ({ ...(await probe.handshake(signal)), recoveryPointLsn: 0n }),
    }),
  },
  "trusts an untrusted checkpoint": {
    ...HONEST,
    storage: (storage) => ({
      ...storage,
      getRetainedHistory: async () => {
        const history = await storage.getRetainedHistory();
        return history === null ? null : { ...history, checkpointTrusted: true };
      },
    }),
  },
  "takes less for committed than was": {
    ...HONEST,
    storage: (storage) => ({
      ...storage,
      getRetainedHistory: async () => {
        const history = await storage.getRetainedHistory();
        return history === null || history.committedLsn < 4n
          ? history
          : { ...history, committedLsn: history.committedLsn - 3n };
      },
    }),
  },
  "chases the head": {
    ...HONEST,
    io: (io, { world }) => ({
      ...io,
      async *streamWal(start, end, signal) {
        for await (const reached of io.streamWal(start, BigInt(world.history.length), signal)) {
          yield reached < end ? reached : end;
        }
      },
    }),
  },
  "compares positions without the lineage": {
    ...HONEST,
    probe: (probe) => ({
      handshake: async (signal) => ({ ...(await probe.handshake(signal)), lineage: { kind: "on_lineage" } }),
    }),
  },
  "records what was planned instead of what was achieved": {
    ...HONEST,
    io: (io) => ({
      ...io,
      transferSnapshot: async (lsn, signal) => {
        await io.transferSnapshot(lsn, signal);
        return lsn;
      },
    }),
  },
  "pins nothing": {
    ...HONEST,
    storage: (storage) => ({
      ...storage,
      pinWal: async (start, sessionId) => {
        const pin = await storage.pinWal(start, sessionId);
        await pin.release("never held");
        return { name: pin.name, release: async () => {}, [Symbol.asyncDispose]: async () => {} };
      },
    }),
  },
};

/** Pins that are let go only for some reasons. */
function withPins(storage: StorageAdapter, isLetGo: (reason: string) => boolean): StorageAdapter {
  const wrapped = (pin: Pin): Pin => ({
    ...pin,
    release: async (reason) => {
      if (isLetGo(reason)) await pin.release(reason);
    },
  });
  return {
    ...storage,
    pinWal: async (start, sessionId) => wrapped(await storage.pinWal(start, sessionId)),
    pinSnapshot: async (lsn, sessionId) => wrapped(await storage.pinSnapshot(lsn, sessionId)),
    pinFullBase: async (lsn, sessionId) => wrapped(await storage.pinFullBase(lsn, sessionId)),
  };
}

/** Work that hears of another signal than the one it is given. */
function withSignal(io: CatchUpIO & RebuildIO, signal: AbortSignal): CatchUpIO & RebuildIO {
  return {
    streamWal: (start, end) => io.streamWal(start, end, signal),
    truncate: (lsn) => io.truncate(lsn, signal),
    rewind: (from) => io.rewind(from, signal),
    transferSnapshot: (lsn) => io.transferSnapshot(lsn, signal),
    transferFullBase: (lsn) => io.transferFullBase(lsn, signal),
  };
}
