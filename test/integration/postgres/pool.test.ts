import { describe, expect, test } from "vitest";
import { emptyDatabase } from "../../support/postgres.ts";

describe("the pool", () => {
  test("names itself in pg_stat_activity", async () => {
    await using database = await emptyDatabase();
    const { rows } = await database.pool.query(
      "select current_setting('application_name') as name, 9007199254740993::bigint as big, 0.1::numeric(38,18) as money",
    );
    expect(rows).toEqual([{ name: "fula-master/test@test", big: "9007199254740993", money: "0.100000000000000000" }]);
  });
});
