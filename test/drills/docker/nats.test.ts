import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Kvm } from "@nats-io/kv";
import { connect, type NatsConnection, nkeyAuthenticator } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { openAddresses } from "../../../src/lib/runtime/own-addresses.ts";
import { controlPlaneKeyFiles } from "../../../src/lib/stack/control-plane-keys.ts";
import { natsStack, type NatsStack } from "../../support/nats-stack.ts";
import { lookAtPort } from "../../support/port-look.ts";
import { eventually, until } from "../../support/until.ts";

const SERVICES = ["nats", "nats-witness"] as const;

/** Nothing of what opens a door may be seen by whoever may ask the engine. */
async function expectNoSecrets(stack: NatsStack): Promise<void> {
  const { paths } = await stack.load();
  const files = controlPlaneKeyFiles(paths.keysDir);
  const shown = JSON.stringify(await Promise.all(SERVICES.map(async (service) => await stack.inspect(service))));
  const conf = await readFile(join(paths.baseDir, "docker/nats.conf"), "utf8");
  for (const path of [files.userSeed, files.systemSeed, files.key, files.caKey]) {
    const lines = (await readFile(path, "utf8")).trim().split("\n");
    const secret = lines.find((line) => !line.startsWith("-----")) ?? "";
    expect(secret.length).toBeGreaterThan(20);
    expect(shown).not.toContain(secret);
    expect(conf).not.toContain(secret);
  }
}

async function login(stack: NatsStack): Promise<NatsConnection> {
  const { paths } = await stack.load();
  const seed = (await readFile(controlPlaneKeyFiles(paths.keysDir).userSeed, "utf8")).trim();
  return await connect({
    servers: `127.0.0.1:${stack.ports.client}`,
    authenticator: nkeyAuthenticator(new TextEncoder().encode(seed)),
    reconnect: false,
    timeout: 60_000,
  });
}

/** @returns its revision */
async function putValue(stack: NatsStack, key: string, value: string): Promise<number> {
  const connection = await login(stack);
  try {
    const kv = await new Kvm(connection).create("FULA_trial", { replicas: 1 });
    return await kv.put(key, value);
  } finally {
    await connection.close();
  }
}

async function valueOf(stack: NatsStack, key: string): Promise<string | null> {
  const connection = await login(stack);
  try {
    const kv = await new Kvm(connection).open("FULA_trial");
    return (await kv.get(key))?.string() ?? null;
  } finally {
    await connection.close();
  }
}

/** Kills the servers as a machine that loses its power does; the engine starts their containers again. */
async function losePower(stack: NatsStack): Promise<void> {
  const before = await Promise.all(SERVICES.map(async (service) => (await stack.inspect(service)).State.Pid));
  for (const pid of before) process.kill(pid, "SIGKILL");
  for (const [at, service] of SERVICES.entries()) {
    await until(`${service} was started again`, async () => {
      const { Pid } = (await stack.inspect(service)).State;
      return Pid !== 0 && Pid !== before[at];
    });
  }
}

async function whenWell(stack: NatsStack): Promise<void> {
  for (const service of SERVICES) {
    await eventually(`${service} is well`, async () => (await stack.health(service)).exitCode === 0);
  }
}

test("the first master's two servers elect, keep what they acknowledged when killed, and are unwell while they cannot elect", async () => {
  await using stack = await natsStack({ announce: "192.0.2.7" });
  await stack.apply();
  const { HostConfig } = await stack.inspect("nats");
  expect(HostConfig).toMatchObject({ ReadonlyRootfs: true, CapDrop: ["ALL"] });

  await expectNoSecrets(stack);

  const { client, monitor, route } = stack.ports;
  for (const port of [client, monitor]) {
    expect((await lookAtPort(port)).open).toEqual([]);
    expect(await openAddresses(["127.0.0.1"], port)).toEqual(["127.0.0.1"]);
  }
  await until("others reach the route from everywhere", async () => {
    const { open, shut } = await lookAtPort(route);
    return open.length > 0 && shut.length === 0;
  });
  expect((await stack.inspect("nats-witness")).HostConfig.PortBindings).toEqual({});

  // A leader may be elected anew at any time, and nobody answers meanwhile.
  await eventually("a value is acknowledged", async () => await putValue(stack, "a", "acknowledged"));
  await losePower(stack);
  await whenWell(stack);
  expect(await eventually("the value is read", async () => await valueOf(stack, "a"))).toBe("acknowledged");

  const { Id } = await stack.inspect("nats-witness");
  await stack.docker.getContainer(Id).kill();
  await eventually("nats is unwell", async () => {
    const health = await stack.health("nats");
    return health.exitCode !== 0 && health.said.includes("no leader");
  });
  await stack.docker.getContainer(Id).start();
  await whenWell(stack);
});
