import { addressOfSetting } from "../config/addresses.ts";
import type { Config } from "../config/schema.ts";

/** The PostgreSQL server that a box carries: the ledger's only one, its primary or a standby. */
export interface OwnPostgres {
  readonly kind: "processes" | "container";
  /** `own`: the settings take it for the ledger; `standby`: they name another box's, of which this is a copy. */
  readonly role: "own" | "standby";
  /** Where this box reaches it. */
  readonly host: string;
  /** 0 = one that it chose itself. */
  readonly port: number;
  /** Where other boxes reach it, `host:port`; null where none does. */
  readonly announce: string | null;
  /** Address that it listens on for them. */
  readonly listen: string;
}

const LOOPBACK = "127.0.0.1";

/** Takes an announced `host:port` apart; an IPv6 address stands in brackets in it. */
export function announcedAddress(announce: string): { readonly host: string; readonly port: number } {
  const { host, port } = addressOfSetting(`http://${announce}`);
  return { host, port };
}

const ALL: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

/** The server that this box carries by its settings; null where it has none, or is no master. */
export function ownPostgres({ node, postgres, standby }: Config): OwnPostgres | null {
  if (node.role !== "master") return null;
  const role = postgres.mode === "external" ? "standby" : "own";
  const where = postgres.mode === "external" ? standby.server : postgres.mode;
  if (where === "none") return null;
  const { announce, listen } = postgres;
  const announced = announce === null ? 0 : announcedAddress(announce).port;
  const kind = where === "docker" ? "container" : "processes";
  return {
    kind,
    role,
    // A container's port is published once: a certain address of the box takes the place of loopback.
    host: kind === "container" && announce !== null && !ALL.has(listen) ? listen : LOOPBACK,
    // Of a standby `postgres.port` is that of the server which it copies.
    port: role === "own" && postgres.port !== 0 ? postgres.port : announced,
    announce,
    listen,
  };
}
