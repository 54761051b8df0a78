/** The images that are built here, by what they hold. No registry knows them: nothing can be pulled by accident. */
export interface Images {
  readonly postgres: string;
  readonly kubo: string;
  readonly cluster: string;
  readonly nats: string;
  readonly node: string;
  readonly master: string;
  /** A whole box of a master: `master` with PostgreSQL's programs beside it. */
  readonly box: string;
}

/** Tags that a test can put into `docker.images.*`. */
export const IMAGES: Images = {
  postgres: "fula-test/postgres:15",
  kubo: "fula-test/kubo:0.42.0",
  cluster: "fula-test/ipfs-cluster:1.1.6",
  nats: "fula-test/nats:2.15.2",
  node: "fula-test/node:24",
  master: "fula-test/fula-master:dev",
  box: "fula-test/box:dev",
};
