import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { freshDatabase } from "../../support/postgres.ts";

test("a session with a server that is frozen ends when it is not waited for any more", async () => {
  await using database = await freshDatabase();
  const options = { ...database.options, node: "one", part: "resync" };
  const end = new AbortController();
  await using session = await openSession(options, systemClock, end.signal);
  process.kill(session.pid, "SIGSTOP");
  try {
    const asked = session.query({ name: "ask", text: "select 1 as n", values: [] }).catch((error: unknown) => error);
    end.abort();
    expect(await asked).toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  } finally {
    process.kill(session.pid, "SIGCONT");
  }
  const late = openSession(options, systemClock, end.signal);
  await expect(late).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
});
