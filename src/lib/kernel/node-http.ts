import type { Agent as NodeAgent } from "node:http";

/**
 * Node's `node:http` for what runs as a command. An `import` of it reads every export, one of which is a getter that loads all
 * of undici: more processor time than Node's own start takes, spent by every command and every health check.
 */
export const { Agent, request } = process.getBuiltinModule("node:http");
export type Agent = NodeAgent;
