import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { LoadedConfig } from "../../../src/lib/config/load.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { wantedRoutes } from "../../../src/lib/stack/control-plane-caretaker.ts";
import type { ControlPlaneKeys } from "../../../src/lib/stack/control-plane-keys.ts";
import { natsFiles, ownRoute } from "../../../src/lib/stack/nats-files.ts";
import { loadedBox } from "../../support/schedules.ts";

const PATH = join(import.meta.dirname, "../../../templates/docker/nats.conf");
const CLUSTER = "0195d3c4-0000-7000-8000-000000000001";

const keys: ControlPlaneKeys = {
  ca: "AUTHORITY",
  certificate: "CERTIFICATE",
  key: new Secret("PRIVATE"),
  user: `U${"A".repeat(55)}`,
  system: `U${"B".repeat(55)}`,
};

async function box(
  settings: Readonly<Record<string, unknown>> = {},
  announce = "m1.example.org",
): Promise<LoadedConfig> {
  const node = { name: "m1", clusterId: CLUSTER, announce };
  return await loadedBox({ yaml: JSON.stringify({ runtime: "docker", node, controlPlane: settings }) });
}

async function render(
  loaded: LoadedConfig,
  given: ControlPlaneKeys | null = keys,
): Promise<ReadonlyMap<string, string>> {
  const files = natsFiles(loaded, { text: await readFile(PATH, "utf8"), path: PATH }, given);
  return new Map(files.map(({ name, content }) => [name, content]));
}

describe("the files of the control plane's servers", () => {
  test("have one route a peer, no addresses of bridges, every write on the disk, and TLS on both sides", async () => {
    const conf = (await render(await box())).get("docker/nats.conf") ?? "";
    for (const line of [
      'server_name: "m1"',
      'name: "fula-0195d3c4"',
      "pool_size: -1",
      "no_advertise: true",
      "sync_interval: always",
      "verify: true",
      "debug: false",
      `nkey: "${keys.user}"`,
      `nkey: "${keys.system}"`,
      "system_account: SYS",
      'include "nats/routes.conf"',
    ]) {
      expect(conf).toContain(line);
    }
    expect(conf).not.toContain("${");
    expect((await render(await box({ debug: true }))).get("docker/nats.conf")).toContain("debug: true");
  });

  test("tell a server that has yet to be taken in of itself more often than there are new ones, and a late witness, too", async () => {
    const timesIn = (text: string | undefined, service: string): number =>
      text?.match(new RegExp(`nats-route://${service}:6222(?:/\\d)?"`, "g"))?.length ?? 0;
    const others = { routes: ["m2.example.org:6222"] };
    const [settled, joining] = [await render(await box(others)), await render(await box({ ...others, joining: true }))];
    expect(timesIn(settled.get("docker/nats/routes.conf"), "nats")).toBe(1);
    expect(timesIn(joining.get("docker/nats/routes.conf"), "nats")).toBe(9);
    const [first, late] = [
      await render(await box({ witness: true })),
      await render(await box({ ...others, witness: true })),
    ];
    expect(timesIn(first.get("docker/nats/witness-routes.conf"), "nats-witness")).toBe(1);
    expect(timesIn(late.get("docker/nats/witness-routes.conf"), "nats-witness")).toBe(9);
  });

  test("of the first master let both servers dial one another and every other master, and only one be dialled", async () => {
    const files = await render(await box({ witness: true, routes: ["m2.example.org:6222"], routePort: 16_222 }));
    const routes = ["nats:6222", "nats-witness:6222", "m2.example.org:6222"].map((one) => `"nats-route://${one}"`);
    const [own = "", witness = ""] = ["routes", "witness-routes"].map((name) => files.get(`docker/nats/${name}.conf`));
    for (const route of routes) {
      expect(own).toContain(route);
      expect(witness).toContain(route);
    }
    expect(own).toContain('advertise: "m1.example.org:16222"');
    expect(witness).not.toContain("advertise");
    const conf = files.get("docker/nats-witness.conf");
    expect(conf).toContain('server_name: "m1-witness"');
    expect(conf).toContain('include "nats/witness-routes.conf"');
  });

  test("of a further master have no witness, and no route to itself but by its service's name", async () => {
    const files = await render(await box({ routes: ["m1.example.org:6222", "m2.example.org:6222"] }));
    const routes = files.get("docker/nats/routes.conf");
    expect(routes?.match(/nats-route:[^"]+/g)).toEqual(["nats-route://nats:6222", "nats-route://m2.example.org:6222"]);
    expect([...files.keys()].filter((name) => name.includes("witness"))).toEqual([]);
  });

  test("hold a private key in the one file that is for it", async () => {
    const files = await render(await box({ witness: true }));
    const holders = [...files].filter(([, content]) => content.includes("PRIVATE")).map(([name]) => name);
    expect(holders).toEqual(["secrets/nats/node.key.pem"]);
  });

  test("can be planned before there are any keys", async () => {
    const files = await render(await box(), null);
    expect(files.get("secrets/nats/node.pem")).toBe("");
  });

  test.each([
    ["m1.example.org", "m1.example.org:6222"],
    ["192.0.2.7", "192.0.2.7:6222"],
    ["2001:db8::7", "[2001:db8::7]:6222"],
  ])("of a box that is announced as %s say that it is reached at %s", async (announce, route) => {
    expect(ownRoute((await box({}, announce)).config)).toBe(route);
  });
});

describe("the routes of a master", () => {
  const own = { name: "m1", route: "m1:6222", routes: ["m9:6222"] };
  const second = { name: "m2", route: "m2:6222" };
  const third = { name: "m3", route: "m3:6222" };

  test.each([
    ["nobody has written one down: those of the settings stay", [], 2, ["m9:6222"]],
    ["one of two has: what the settings have may be the other's", [second], 2, ["m2:6222", "m9:6222"]],
    ["all have: one that no master has is dropped", [third, second], 2, ["m2:6222", "m3:6222"]],
    ["its own is not among them", [{ name: "m1", route: "m1:6222" }, second], 1, ["m2:6222"]],
    ["it is alone: what the settings have stays", [{ name: "m1", route: "m1:6222" }], 0, ["m9:6222"]],
  ])("%s", (_, ledger, otherMasters, expected) => {
    expect(wantedRoutes(own, ledger, otherMasters)).toEqual(expected);
  });
});
