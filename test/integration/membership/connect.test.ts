import { expect, test } from "vitest";
import { connectNats } from "../../../src/lib/membership/kv/connect.ts";
import { findFreePorts } from "../../support/daemon-process.ts";
import { kvTarget } from "../../support/kv-stores.ts";
import { startNatsServers } from "../../support/nats-servers.ts";

test("the one server that is left of three is found, whichever is asked first", async () => {
  await using servers = await startNatsServers(1);
  const target = kvTarget(servers);
  const lost = (await findFreePorts(2)).map((port) => `nats://127.0.0.1:${port}`);
  const found: boolean[] = [];
  // The order is drawn each time.
  for (let round = 0; round < 30; round += 1) {
    const connection = await connectNats({ ...target, servers: [...lost, ...target.servers] }, target.timeoutMs);
    found.push(!connection.isClosed());
    await connection.close();
  }
  expect(new Set(found)).toEqual(new Set([true]));
});
