import { randomBytes } from "node:crypto";
import { migrateUp } from "../../src/lib/postgres/migrator.ts";
import { createPool } from "../../src/lib/postgres/pool.ts";
import { IMAGES } from "../infra/image-names.ts";
import { composeProjectOf } from "./compose-stack.ts";
import { findFreePorts } from "./daemon-process.ts";
import type { TestDatabase } from "./postgres.ts";
import type { MoreSettings } from "./serving.ts";

/** PostgreSQL, Kubo and IPFS Cluster of one master in containers, as `join` would run them. */
export interface ContainerServices extends AsyncDisposable {
  readonly ledger: TestDatabase;
  /** Where masters find the other two. */
  readonly settings: MoreSettings;
  /** Runs `ipfs <args>` in Kubo's container. */
  ipfs(...args: readonly string[]): Promise<void>;
}

/** Starts them, with an empty ledger that is migrated. */
export async function startContainerServices(): Promise<ContainerServices> {
  const [postgres = 0, kuboApi = 0, kuboSwarm = 0, clusterApi = 0, clusterSwarm = 0] = await findFreePorts(5);
  const password = randomBytes(16).toString("hex");
  const values = {
    POSTGRES_IMAGE: IMAGES.postgres,
    KUBO_IMAGE: IMAGES.kubo,
    CLUSTER_IMAGE: IMAGES.cluster,
    POSTGRES_PORT: String(postgres),
    KUBO_API_PORT: String(kuboApi),
    KUBO_SWARM_PORT: String(kuboSwarm),
    CLUSTER_API_PORT: String(clusterApi),
    CLUSTER_SWARM_PORT: String(clusterSwarm),
    KUBO_REACH: "federation",
  };
  await using opened = new AsyncDisposableStack();
  const secrets = { postgres_password: password, cluster_secret: randomBytes(32).toString("hex") };
  const project = opened.use(
    composeProjectOf("master", values, { services: ["postgres", "kubo", "cluster"], secrets }),
  );
  await project.apply();
  const [name, user] = ["pinning_service", "pinning_user"];
  const address = { host: "127.0.0.1", port: postgres, database: name, user, password };
  const options = { ...address, part: "test", node: "test" };
  const pool = createPool(options);
  const drop = async (): Promise<void> => {
    if (!pool.ended) await pool.end();
  };
  opened.defer(drop);
  await migrateUp(pool);
  const url = `postgresql://${user}:${password}@127.0.0.1:${postgres}/${name}`;
  const all = opened.move();
  return {
    ledger: { name, url, options, pool, drop, [Symbol.asyncDispose]: drop },
    settings: {
      blocks: { mode: "kubo", kuboApi: `/ip4/127.0.0.1/tcp/${kuboApi}` },
      cluster: { mode: "rest", api: `/ip4/127.0.0.1/tcp/${clusterApi}`, replicationMin: 1, replicationMax: 1 },
    },
    ipfs: async (...args) => {
      const { exitCode, stdout } = await project.exec("kubo", ["ipfs", ...args]);
      if (exitCode !== 0) throw new Error(`ipfs ${args.join(" ")} ended with ${exitCode}: ${stdout}`);
    },
    [Symbol.asyncDispose]: async () => {
      await all.disposeAsync();
    },
  };
}
