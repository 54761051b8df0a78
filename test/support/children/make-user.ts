import { ensurePostgresUser, planPostgresUser } from "../../../src/lib/runtime/postgres-user.ts";

// Says which user would run the server, makes it real, and says what is planned then.
const dataDir = "/nowhere";
const plan = await planPostgresUser({ dataDir });
const made = await ensurePostgresUser(plan);
process.stdout.write(JSON.stringify({ plan, made, next: await planPostgresUser({ dataDir }) }));
