import type { DatabaseSync } from "node:sqlite";

/** "FULC" in ASCII, kept in `application_id`, so that another program's SQLite file is not taken for a control plane. */
export const APPLICATION_ID = 0x46_55_4c_43;

// A sealed key belongs to a member, who belongs to a pool: whoever goes takes what is below along.
const FIRST_VERSION = `
  create table pools (
    id text primary key,
    name text not null,
    encrypted integer not null check (encrypted in (0, 1)),
    owner text not null,
    epoch integer not null check (epoch >= 0),
    created_at text not null
  ) strict, without rowid;
  create table members (
    pool text not null references pools (id) on delete cascade,
    endpoint text not null,
    name text not null,
    role text not null check (role in ('owner', 'member')),
    joined_at text not null,
    applied_epoch integer not null check (applied_epoch >= 0),
    primary key (pool, endpoint)
  ) strict, without rowid;
  create index members_endpoint on members (endpoint, pool);
  create table sealed_keys (
    pool text not null,
    epoch integer not null check (epoch >= 1),
    member text not null,
    sealed text not null,
    primary key (pool, epoch, member),
    foreign key (pool, member) references members (pool, endpoint) on delete cascade
  ) strict, without rowid;
  create index sealed_keys_member on sealed_keys (pool, member, epoch);
  create table operators (
    id text primary key,
    role text not null check (role in ('admin', 'operator')),
    status text not null check (status in ('active', 'revoked')),
    name text not null,
    created_at text not null
  ) strict, without rowid;
  create table retired (
    only_row integer primary key check (only_row = 1),
    address text not null,
    retired_at text not null
  ) strict;
`;

/** Each step takes the tables from one version to the next; a released one is never edited. */
const STEPS: readonly string[] = [FIRST_VERSION];

/** Version of the tables, kept in `user_version`. */
export const SCHEMA_VERSION = STEPS.length;

/** Takes the tables to this build's version, all steps or none. The caller has the file to itself, in a transaction. */
export function upgradeSchema(db: DatabaseSync, fromVersion: number): void {
  for (const step of STEPS.slice(fromVersion)) db.exec(step);
  db.exec(`pragma user_version = ${SCHEMA_VERSION}; pragma application_id = ${APPLICATION_ID}`);
}
