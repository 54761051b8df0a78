import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Kvm } from "@nats-io/kv";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { BUCKET_KINDS, bucketName } from "../../../src/lib/membership/kv/buckets.ts";
import { connectNats } from "../../../src/lib/membership/kv/connect.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { readServers } from "../../../src/lib/stack/control-plane-servers.ts";
import { removeServer, serverNames, takeServerOut } from "../../../src/lib/stack/membership-peer.ts";
import { boxWith } from "../../support/config.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";
import { until } from "../../support/until.ts";

/** A master whose own server of the control plane is that one. */
function masterAt(all: NatsServers, at: number) {
  const server = all.servers[at];
  if (server === undefined) throw new Error(`there is no server ${at}`);
  const settings = {
    runtime: "docker",
    node: { name: server.name },
    controlPlane: { mode: "docker", clientPort: server.clientPort, timeout: "20s" },
  };
  const context = boxWith({ yaml: JSON.stringify(settings) });
  const keysDir = join(context.baseDir, "keys");
  mkdirSync(keysDir, { mode: 0o700 });
  writeFileSync(join(keysDir, "nats-user.nk"), all.user.seed, { mode: 0o600 });
  writeFileSync(join(keysDir, "nats-system.nk"), all.system.seed, { mode: 0o600 });
  const { signal } = new AbortController();
  const asked: string[] = [];
  const confirm = async (left: readonly string[]): Promise<void> => {
    asked.push(left.join(" "));
    await Promise.resolve();
  };
  const withBucket = async <T>(use: (manager: Kvm) => Promise<T>): Promise<T> => {
    const access = { servers: [server.url], nkeySeed: new Secret(all.user.seed), ca: null };
    const connection = await connectNats(access, 20_000);
    try {
      return await use(new Kvm(connection));
    } finally {
      await connection.close();
    }
  };
  return {
    server,
    asked,
    /** Makes the buckets, with a record in the first. */
    keep: async (value: string, replicas: number) => {
      // Who leads does not know at once what the others have room for.
      await until("the buckets are made", async () => {
        const making = withBucket(async (manager) => {
          for (const kind of BUCKET_KINDS) await manager.create(bucketName("FULA", kind), { replicas });
          return await (await manager.open("FULA_rooms")).put("kept", value);
        });
        return await making.catch(() => null);
      });
    },
    kept: async () =>
      await until("it is read", async () => {
        const reading = withBucket(async (manager) => (await (await manager.open("FULA_rooms")).get("kept"))?.string());
        return await reading.catch(() => null);
      }),
    names: async () => serverNames(await readServers(await loadConfig(context), { clock: systemClock })),
    leave: async () => {
      await takeServerOut(await loadConfig(context), server.name, { clock: systemClock, signal });
    },
    remove: async (name: string, change: { readonly force?: boolean; readonly dryRun?: boolean } = {}) =>
      await removeServer(
        { ...context, clock: systemClock, random: systemRandom, signal },
        { name, force: false, dryRun: false, confirm, ...change },
      ),
  };
}

async function whole(master: ReturnType<typeof masterAt>, names: readonly string[]): Promise<void> {
  await until("all servers are there", async () => {
    const seen = await master.names().catch((): readonly string[] => []);
    return seen.length === names.length && names.every((name) => seen.includes(name));
  });
}

describe("a server of the control plane", () => {
  test("that is dead is taken out, one that runs is not, and never one too many", async () => {
    await using all = await startNatsServers(3);
    const [first, second, third] = [0, 1, 2].map((at) => masterAt(all, at));
    if (first === undefined || second === undefined || third === undefined) throw new Error("three were started");
    const names = all.servers.map(({ name }) => name);
    await whole(first, names);
    await first.keep("on all three", 3);
    await expect(first.remove(third.server.name)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_PEER" });
    await third.server.process.kill();
    const left = [first.server.name, second.server.name];
    const seen = await until(
      "it is missed",
      async () => await first.remove(third.server.name, { dryRun: true }).catch(() => null),
    );
    expect(seen).toEqual({ dryRun: true, server: third.server.name, left });
    expect(first.asked).toEqual([]);
    expect(await first.remove(third.server.name)).toMatchObject({ dryRun: false, left });
    expect(first.asked).toEqual([left.join(" ")]);
    await whole(second, left);
    await expect(first.remove(third.server.name)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_PEER" });
  });

  test("that runs and stands still for a moment is not taken for dead", async () => {
    await using all = await startNatsServers(3);
    const [first, , third] = [0, 1, 2].map((at) => masterAt(all, at));
    if (first === undefined || third === undefined) throw new Error("three were started");
    await whole(
      first,
      all.servers.map(({ name }) => name),
    );
    await first.keep("on all three", 3);
    third.server.process.freeze();
    const removing = expect(first.remove(third.server.name)).rejects.toMatchObject({
      code: "FULA_CONTROL_PLANE_PEER",
      message: expect.stringContaining("it runs"),
    });
    // Longer than whoever asks all of them waits for the next answer.
    await systemClock.sleep(1_500);
    third.server.process.thaw();
    await removing;
    expect(first.asked).toEqual([]);
  });

  test("leaves the last one every record, and a second one to elect with brings both back", async () => {
    await using all = await startNatsServers(3);
    const names = all.servers.map(({ name }) => name);
    const [first, second, third] = [0, 1, 2].map((at) => masterAt(all, at));
    if (first === undefined || second === undefined || third === undefined) throw new Error("three were started");
    await whole(first, names);
    await first.keep("written by three", 3);
    await third.leave();
    await third.server.process.kill();
    await second.leave();
    await second.server.process.kill();
    await whole(first, [first.server.name]);
    expect(await first.kept()).toBe("written by three");
    await first.server.process.kill();
    await first.server.process.start();
    rmSync(join(second.server.dir, "store"), { recursive: true });
    await second.server.process.start();
    await whole(first, [first.server.name, second.server.name]);
    expect(await first.kept()).toBe("written by three");
  });

  test("is taken out by its own master, even where it leads", async () => {
    await using all = await startNatsServers(3);
    const names = all.servers.map(({ name }) => name);
    const masters = names.map((_, at) => masterAt(all, at));
    const [any] = masters;
    if (any === undefined) throw new Error("three were started");
    await whole(any, names);
    const leads = "Self is new JetStream cluster metadata leader";
    const leader = await until("one leads", async () => {
      const found = masters.find(({ server }) => server.process.log.includes(leads));
      return await Promise.resolve(found);
    });
    await leader.leave();
    const other = masters.find((master) => master !== leader);
    if (other === undefined) throw new Error("three were started");
    await whole(
      other,
      names.filter((name) => name !== leader.server.name),
    );
  });
});
