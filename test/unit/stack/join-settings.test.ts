import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type LoadedConfig, loadConfig, type Overrides } from "../../../src/lib/config/load.ts";
import { secretChanges, settingChanges } from "../../../src/lib/stack/join-settings.ts";

let dir: string;
let bytesGiven = 0;
const random = {
  bytes: (length: number) => new Uint8Array(length).fill((bytesGiven += 1)),
  int: () => 0,
  uuid: () => "00000000-0000-4000-8000-000000000000",
};

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-join-settings-"));
});

afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

async function load(env: Record<string, string> = {}, overrides: Overrides = {}): Promise<LoadedConfig> {
  return await loadConfig({ globals: { baseDir: dir }, env, cwd: dir }, overrides);
}

async function changesOf(env: Record<string, string>, overrides: Overrides = {}) {
  return settingChanges(await load(env, overrides), await load());
}

test("the first join saves what it decided, so that a new host name or default changes nothing later", async () => {
  const keys = (await changesOf({}, { runtime: { flag: "join", value: "embedded" } })).map(({ key }) => key);
  expect(keys).toEqual([
    "runtime",
    "node.name",
    "node.clusterId",
    "server.port",
    "gateway.port",
    "api.port",
    "sweep.replMin",
  ]);
});

test("a master in containers saves its images too, so that a newer version's defaults change none of them", async () => {
  const keys = (await changesOf({}, { runtime: { flag: "join", value: "docker" } })).map(({ key }) => key);
  expect(keys).toEqual(expect.arrayContaining(["docker.project", "docker.images.kubo", "docker.images.postgres"]));
});

test("what the environment sets is saved under its own name, in the form of the file", async () => {
  const changes = await changesOf({ VAULT_ADDRESS: `0x${"a".repeat(40)}`, FULA_MASTER_SNAPSHOT_MAX_AGE: "30h" });
  expect(changes).toContainEqual(
    expect.objectContaining({
      key: "snapshot.maxAge",
      from: null,
      to: "30h",
      value: "30h",
      because: expect.stringContaining("MAX_AGE"),
    }),
  );
  expect(changes.map(({ key }) => key)).toContain("billing.vaultAddress");
});

test("what the file says already is no change; another value shows both", async () => {
  await writeFile(join(dir, "fula-master.yaml"), "gateway:\n  port: 9100\nserver:\n  port: 9110\n");
  const changes = await changesOf({}, { "gateway.port": { flag: "--gateway-port", value: "9200" } });
  expect(changes.find(({ key }) => key === "gateway.port")).toMatchObject({ from: "9100", to: "9200", value: 9200 });
  expect(changes.some(({ key }) => key === "server.port")).toBe(false);
});

test("a flag that .env would overrule for ever after is refused, naming the line", async () => {
  await writeFile(join(dir, ".env"), "# old\nFULA_PORT=9000\n");
  await expect(changesOf({}, { "gateway.port": { flag: "--gateway-port", value: "9200" } })).rejects.toMatchObject({
    code: "FULA_JOIN_CONFLICT",
    hint: expect.stringContaining("line 2"),
  });
});

test("every secret is generated once, each another, 32 bytes long", async () => {
  const { added, generated } = secretChanges(await load(), await load(), random);
  expect(generated).toEqual(["POSTGRES_PASSWORD", "SYSTEM_KEY", "JWT_SECRET", "SESSION_SECRET", "ENCRYPTION_KEY"]);
  const values = Object.values(added).map((secret) => secret.reveal());
  expect(new Set(values).size).toBe(5);
  expect(values.every((value) => /^[0-9a-f]{64}$/.test(value))).toBe(true);
});

test("a secret that is there is never generated again", async () => {
  await writeFile(join(dir, ".env"), "JWT_SECRET=mine\n");
  const { added, replaced } = secretChanges(await load(), await load(), random);
  expect(Object.keys(added)).not.toContain("JWT_SECRET");
  expect(replaced).toEqual({});
});

test("a secret of the environment is saved instead of a generated one", async () => {
  const { added, generated } = secretChanges(await load({ JWT_SECRET: "theirs" }), await load(), random);
  expect(added["JWT_SECRET"]?.reveal()).toBe("theirs");
  expect(generated).not.toContain("JWT_SECRET");
});

test("a password of the environment replaces the saved one, any other secret that differs is refused", async () => {
  await writeFile(join(dir, ".env"), "POSTGRES_PASSWORD=old\nENCRYPTION_KEY=old\n");
  const { replaced } = secretChanges(await load({ POSTGRES_PASSWORD: "new" }), await load(), random);
  expect(replaced["POSTGRES_PASSWORD"]?.reveal()).toBe("new");
  const contradicted = await load({ ENCRYPTION_KEY: "new" });
  const saved = await load();
  expect(() => secretChanges(contradicted, saved, random)).toThrow(
    expect.objectContaining({ code: "FULA_JOIN_CONFLICT", message: expect.not.stringContaining("new") }),
  );
});

test("the password of an external server is not made up", async () => {
  const external = await load({ POSTGRES_HOST: "db.example" });
  expect(secretChanges(external, await load(), random).generated).not.toContain("POSTGRES_PASSWORD");
});
