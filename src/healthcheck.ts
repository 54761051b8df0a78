// Whether the `serve` of this container is ready, for Docker's HEALTHCHECK: asks /readyz where the settings say that it
// listens. Exit code 0 where it answers 200; what it answered is what `docker inspect` shows.
import { loadConfig } from "./lib/config/load.ts";
import { probeHttp } from "./lib/runtime/http-probe.ts";

/** Less than the timeout that the Dockerfile gives this check. */
const ANSWER_TIMEOUT_MS = 4_000;

const { config } = await loadConfig({ globals: {}, env: process.env, cwd: process.cwd() });
const { host, port } = config.server;
const answer = await probeHttp({ host, port, path: "/readyz" }, ANSWER_TIMEOUT_MS);
console.log(answer === null ? `nobody answers on ${host} port ${port}` : answer.body);
process.exitCode = answer?.status === 200 ? 0 : 1;
