/*
 * Three boxes, and nothing but `join` and its tokens, the second and the third at the same time: no file is carried from one to the other, no server is told of another
 * by hand. Afterwards they share one control plane, which goes on when the first of them is lost.
 */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { isIPv4 } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadConfig, type LoadedConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { SHARED_SECRETS } from "../../../src/lib/membership/join-bundle.ts";
import { reachableAddressesOfBox } from "../../../src/lib/runtime/own-addresses.ts";
import { stopDaemon } from "../../../src/lib/stack/daemon.ts";
import { infra } from "../../infra/infra.ts";
import { expectDone, runCliForTest } from "../../support/cli.ts";
import { until } from "../../support/until.ts";
import { removeAll } from "./containers.ts";
import { type HostMember, joinArgs, makeToken, placeMember, removeMember } from "./member.ts";

const SETUP_MS = 900_000;
const GROWTH_MS = 240_000;
/** Several waits of `GROWTH_MS`, of which none is used up as a rule. */
const LONG_MS = 1_200_000;
/** What a command ends with where what it depends on did not answer. */
const SILENT = 4;
const made = new AsyncDisposableStack();
const boxes: HostMember[] = [];

async function load({ baseDir }: HostMember): Promise<LoadedConfig> {
  return await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
}

async function joinOnDocker(box: HostMember, ...more: readonly string[]): Promise<void> {
  const host = reachableAddressesOfBox().find((address) => isIPv4(address)) ?? "";
  const args = ["join", "--runtime", "docker", ...joinArgs(box, host), "--no-schedules", ...more];
  expectDone(await box.run(...args), `join of ${box.name}`);
}

/** Joins a further master, on the ledger of the first: what `docs/join.md` says, and nothing else. */
async function joinFurther(first: HostMember, box: HostMember): Promise<void> {
  const token = await makeToken(first, "master");
  const { config, secrets } = await load(first);
  const { database, user } = config.postgres;
  const password = encodeURIComponent(secrets.postgresPassword?.reveal() ?? "");
  // All boxes are this machine, so that the first one's ledger is on loopback for the others, too.
  const url = `postgres://${user}:${password}@127.0.0.1:${first.ports.postgres}/${database}`;
  await joinOnDocker(box, "--set", "postgres.mode=external", "--postgres-url", url, "--token", token);
}

beforeAll(async () => {
  const prefix = `tri${randomBytes(4).toString("hex")}`;
  made.defer(async () => await removeAll(infra().docker, prefix));
  for (const name of ["m1", "m2", "m3"]) {
    boxes.push(made.adopt(await placeMember(prefix, name), async (box) => await removeMember(box)));
  }
  const [first, ...further] = boxes;
  if (first === undefined) throw new Error("no boxes");
  await joinOnDocker(first);
  // At the same time: servers that are new meet others that are new before they are taken in.
  await Promise.all(further.map(async (box) => await joinFurther(first, box)));
}, SETUP_MS);

afterAll(async () => {
  await made.disposeAsync();
});

function boxAt(index: number): HostMember {
  const found = boxes[index];
  if (found === undefined) throw new Error(`There is no box ${index}`);
  return found;
}

interface ControlPlane {
  readonly mode: string;
  readonly replicas: number | null;
  readonly servers: readonly { readonly name: string; readonly state: string }[];
  readonly pools: readonly { readonly id: string; readonly members: number }[];
}

/** Null where the control plane was silent at that moment, as while it elects a leader. */
async function controlPlaneOf(member: HostMember): Promise<ControlPlane | null> {
  const { stdout } = await member.run("status", "--json");
  if (stdout === "") return null;
  const { controlPlane }: { readonly controlPlane: ControlPlane | null } = JSON.parse(stdout);
  return controlPlane;
}

async function operatorsOn(member: HostMember): Promise<readonly string[]> {
  const run = expectDone(await member.run("membership", "operator", "list", "--json"), "operator list");
  const { operators }: { readonly operators: readonly { readonly id: string }[] } = JSON.parse(run.stdout);
  return operators.map(({ id }) => id);
}

/** A person with a key of his own. */
async function makeOperator(name: string): Promise<{ readonly id: string; readonly keyFile: string }> {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const keyFile = join(boxAt(0).root, `${name}.pem`);
  await writeFile(keyFile, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  return { id: `ed25519:${raw.toString("hex")}`, keyFile };
}

/** Exit code of an act that needs an operator, done by somebody with his own key. */
async function actAs(keyFile: string, { baseDir }: HostMember): Promise<number> {
  const env = { HOME: process.env["HOME"], PATH: process.env["PATH"], FULA_OPERATOR_KEY: keyFile };
  const act = ["key", "create", "--user", "alice@example.org", "--dry-run"];
  return (await runCliForTest(act, { baseDir, env })).exitCode;
}

/** The same, as soon as the control plane can be asked: while it elects a leader it says nothing of anybody. */
async function codeOf(keyFile: string, member: HostMember): Promise<number> {
  return await until(
    `${member.name} says whether he may`,
    async () => {
      const exitCode = await actAs(keyFile, member);
      return exitCode === SILENT ? null : { exitCode };
    },
    GROWTH_MS,
  ).then(({ exitCode }) => exitCode);
}

test(
  "three masters that did nothing but join have one control plane on three servers, and the same secrets",
  async () => {
    await until(
      "every record is on three servers, and the witness is gone",
      async () => {
        const seen = await controlPlaneOf(boxAt(0));
        if (seen === null) return false;
        const { replicas, servers } = seen;
        const names = servers.filter(({ state }) => state === "current").map(({ name }) => name);
        return replicas === 3 && servers.length === 3 && names.join() === "m1,m2,m3";
      },
      GROWTH_MS,
    );
    for (const member of boxes) {
      const seesAll = async (): Promise<boolean> => {
        const seen = await controlPlaneOf(member);
        const counts = seen?.pools.map(({ id, members }) => `${id} ${members}`).join(", ");
        return seen?.mode === "docker" && counts === "cluster 3, masters 3, swarm 3";
      };
      await until(`${member.name} sees all of it`, seesAll, GROWTH_MS);
    }
    const [one, ...others] = await Promise.all(boxes.map(load));
    for (const { secrets, config } of others) {
      for (const key of SHARED_SECRETS) expect(secrets[key]?.reveal()).toBe(one?.secrets[key]?.reveal());
      expect(config.node.clusterId).toBe(one?.config.node.clusterId);
    }
    await until("the first has no witness", async () => !(await load(boxAt(0))).config.controlPlane.witness, GROWTH_MS);
    const isThere = async (service: "nats" | "nats-witness"): Promise<boolean> => {
      const all = await infra().docker.listContainers({ all: true });
      return all.some(({ Names }) => Names.includes(`/${boxAt(0).container(service)}`));
    };
    await until("its container is gone", async () => !(await isThere("nats-witness")), GROWTH_MS);
    expect(await isThere("nats")).toBe(true);
  },
  LONG_MS,
);

test(
  "who is made an operator on one master may act on all of them, and once he is revoked on none",
  async () => {
    const { id, keyFile } = await makeOperator("carol");
    for (const member of boxes) expect(await codeOf(keyFile, member)).toBe(3);
    expectDone(await boxAt(0).run("membership", "operator", "add", id, "--name", "Carol"), "operator add");
    for (const member of boxes) expect(await codeOf(keyFile, member)).toBe(0);
    expectDone(await boxAt(2).run("membership", "operator", "revoke", id, "--yes"), "operator revoke");
    for (const member of boxes) expect(await codeOf(keyFile, member)).toBe(3);
  },
  LONG_MS,
);

// Last: nobody brings the first box back.
test(
  "when the first box is lost, with the ledger, the others go on saying who may act, and write it down",
  async () => {
    const before = await operatorsOn(boxAt(1));
    const { docker } = infra();
    await stopDaemon(await load(boxAt(0)), { clock: systemClock, env: {} }, { force: true });
    for (const service of ["nats", "kubo", "cluster", "postgres"] as const) {
      await docker.getContainer(boxAt(0).container(service)).kill();
    }
    const { id } = await makeOperator("dave");
    const mayAct = async (member: HostMember): Promise<boolean> =>
      (await member.run("membership", "operator", "check", id)).exitCode === 0;
    await until(
      "the others write",
      async () => {
        const added = await boxAt(1).run("membership", "operator", "add", id, "--name", "Dave");
        // The answer to the one before may have been lost with the leader; nobody else adds him.
        return added.exitCode === 0 || (await mayAct(boxAt(1)));
      },
      GROWTH_MS,
    );
    await until("the third says that he may act", async () => await mayAct(boxAt(2)), GROWTH_MS);
    expect(await operatorsOn(boxAt(2))).toEqual([...before, id].toSorted());
  },
  LONG_MS,
);
