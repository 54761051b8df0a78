import { expect, test } from "vitest";
import { announcedAddress, type OwnPostgres, ownPostgres } from "../../../src/lib/stack/own-postgres.ts";
import { stackServices, stackValues } from "../../../src/lib/stack/stack-values.ts";
import { loadedBox } from "../../support/schedules.ts";

async function own(yaml: string): Promise<OwnPostgres | null> {
  return ownPostgres((await loadedBox({ yaml })).config);
}

test("a box has the server that its settings take for the ledger, or a copy of another's, or none", async () => {
  expect(await own("runtime: docker\n")).toMatchObject({ kind: "container", role: "own", port: 5432, announce: null });
  expect(await own("runtime: embedded\n")).toMatchObject({ kind: "processes", role: "own", port: 0 });
  expect(await own("postgres: { mode: external }\n")).toBeNull();
  expect(await own("node: { role: storage }\n")).toBeNull();
});

test("a copy listens on the port that is announced, whatever that of the server is which it copies", async () => {
  const yaml = "postgres: { mode: external, port: 5432, announce: '10.0.0.2:6432' }\nstandby: { server: embedded }\n";
  expect(await own(yaml)).toMatchObject({ kind: "processes", role: "standby", host: "127.0.0.1", port: 6432 });
});

test("a container that others reach is published for them, and its copy is a service of the box", async () => {
  const yaml =
    "runtime: docker\npostgres: { mode: external, announce: '10.0.0.2:6432', listen: 10.0.0.2 }\nstandby: { server: docker }\n";
  const loaded = await loadedBox({ yaml });
  expect(stackServices(loaded.config)).toContain("postgres");
  expect(stackValues(loaded, ["postgres"])).toMatchObject({
    POSTGRES_LISTEN: "10.0.0.2",
    POSTGRES_PORT: "6432",
    POSTGRES_ROLE: "standby",
    POSTGRES_RESTART: "no",
  });
  expect(ownPostgres(loaded.config)?.host).toBe("10.0.0.2");
  expect(stackValues(await loadedBox({ yaml: "runtime: docker\n" }))).toMatchObject({
    POSTGRES_LISTEN: "",
    POSTGRES_RESTART: "",
    POSTGRES_ROLE: "own",
  });
});

test("an announced address is taken apart, also one of IPv6", () => {
  expect(announcedAddress("db.example.org:5432")).toEqual({ host: "db.example.org", port: 5432 });
  expect(announcedAddress("[2001:db8::1]:6432")).toEqual({ host: "2001:db8::1", port: 6432 });
});
