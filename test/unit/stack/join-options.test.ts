import { expect, test } from "vitest";
import { chooseRuntime, type RuntimeFacts } from "../../../src/lib/stack/join-runtime.ts";
import { legacyClusterSecret, overridesOf, parsePostgresUrl } from "../../../src/lib/stack/join-options.ts";

test("a whole URL is taken apart, and its password is kept out of sight", () => {
  const ledger = parsePostgresUrl("postgres://pinning%5Fuser:p%40ss%2Fw%3Ard@db.example:6432/pinning_service");
  expect(ledger).toMatchObject({ host: "db.example", port: 6432, database: "pinning_service", user: "pinning_user" });
  expect(ledger.password?.reveal()).toBe("p@ss/w:rd");
  expect(JSON.stringify(ledger)).not.toContain("p@ss");
});

test("what a URL leaves out is left to the settings", () => {
  expect(parsePostgresUrl("postgresql://db.example")).toEqual({
    host: "db.example",
    port: null,
    database: null,
    user: null,
    password: null,
    tls: null,
  });
  expect(overridesOf({}, parsePostgresUrl("postgres://db"))["postgres.port"]?.value).toBeUndefined();
  expect(overridesOf({}, parsePostgresUrl("postgres://db?sslmode=require"))["postgres.tls"]?.value).toBe("require");
});

test.each([
  ["postgres://u@[2001:db8::1]:5433/x", "2001:db8::1"],
  ["postgres:///x?host=/run/postgresql", "/run/postgresql"],
])("%s names the host %s", (url, host) => {
  expect(parsePostgresUrl(url).host).toBe(host);
});

test.each([
  "db.example",
  "mysql://db/x",
  "postgres:///x",
  "postgres://db/a/b",
  "postgres://db/x?options=-csearch_path",
])("%s is refused without repeating a URL that may hold a password", (url) => {
  expect(() => parsePostgresUrl(url)).toThrow(expect.objectContaining({ code: "FULA_USAGE" }));
  expect(() => parsePostgresUrl(`${url}secret`)).not.toThrow(/secret/);
});

const docker = { version: "29.0.1", apiVersion: "1.52" };
const none = { absent: "connect ENOENT" };
const facts: RuntimeFacts = {
  wanted: "auto",
  joinedAs: null,
  postgresMode: "embedded",
  writerGiven: false,
  docker,
  isRoot: true,
};

test("auto is docker where an engine answers root, else embedded, and says why", () => {
  expect(chooseRuntime(facts)).toEqual({
    runtime: "docker",
    reason: "services run in containers: Docker Engine 29.0.1 answers",
  });
  expect(chooseRuntime({ ...facts, docker: none })).toEqual({
    runtime: "embedded",
    reason: "no Docker Engine answers here",
  });
  expect(chooseRuntime({ ...facts, isRoot: false })).toEqual({
    runtime: "embedded",
    reason: "Docker Engine 29.0.1 answers, but only root may set up containers with secrets",
  });
});

test("a box that has joined stays what it is, whatever answers on it by now", () => {
  expect(chooseRuntime({ ...facts, joinedAs: "embedded" }).runtime).toBe("embedded");
  expect(chooseRuntime({ ...facts, joinedAs: "docker", docker: none }).runtime).toBe("docker");
  expect(chooseRuntime({ ...facts, joinedAs: "external", postgresMode: "external" }).runtime).toBe("external");
});

test("the docker runtime is taken where it is asked for; whether it can be had is for the preflight checks to say", () => {
  for (const engine of [docker, none]) {
    expect(chooseRuntime({ ...facts, wanted: "docker", docker: engine, isRoot: false }).runtime).toBe("docker");
  }
  expect(chooseRuntime({ ...facts, wanted: "docker", postgresMode: "external" }).runtime).toBe("docker");
});

test("a named PostgreSQL server makes the runtime external where nothing is left for containers", () => {
  const named = { ...facts, postgresMode: "external" } as const;
  expect(chooseRuntime({ ...named, docker: none }).runtime).toBe("external");
  expect(chooseRuntime({ ...named, writerGiven: true }).runtime).toBe("external");
  expect(chooseRuntime({ ...named, wanted: "external" }).runtime).toBe("external");
  expect(chooseRuntime({ ...named, wanted: "embedded" }).runtime).toBe("external");
  // Kubo and IPFS Cluster are still to be had from somewhere.
  expect(chooseRuntime(named).runtime).toBe("docker");
});

test("external without the address of a server is refused", () => {
  expect(() => chooseRuntime({ ...facts, wanted: "external" })).toThrow(/address/);
});

test("--set gives any setting, an option of its own stands above it, and an unknown one is named", () => {
  const overrides = overridesOf({ set: ["docker.images.kubo=kubo:1", "server.port=1"], serverPort: "9011" }, null);
  expect(overrides["docker.images.kubo"]).toEqual({ flag: "--set", value: "kubo:1" });
  expect(overrides["server.port"]).toEqual({ flag: "--server-port", value: "9011" });
  expect(() => overridesOf({ set: ["docker.image.kubo=x"] }, null)).toThrow(
    expect.objectContaining({ code: "FULA_CONFIG_UNKNOWN_KEY", hint: "did you mean docker.images.kubo?" }),
  );
  expect(() => overridesOf({ set: ["cluster.replicationMin"] }, null)).toThrow(/key=value/);
});

test("the secret of an old pool is the SHA-256 of its name", () => {
  expect(legacyClusterSecret("1").reveal()).toBe("6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b");
});
