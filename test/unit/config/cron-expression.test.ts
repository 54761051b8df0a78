import { describe, expect, test } from "vitest";
import { explainCron, parseCron } from "../../../src/lib/config/cron-expression.ts";

describe("a schedule", () => {
  test.each([
    ["0 */6 * * *", { minute: [0], hour: [0, 6, 12, 18] }],
    ["*/30 * * * *", { minute: [0, 30] }],
    ["5,1,5 * * * *", { minute: [1, 5] }],
    ["10-20/5 0 * * *", { minute: [10, 15, 20] }],
    ["0 0 * jan,DEC mon-fri", { month: [1, 12], weekday: [1, 2, 3, 4, 5] }],
    ["0 0 * * 7", { weekday: [0] }],
    ["0 0 * * 5-7", { weekday: [0, 5, 6] }],
    ["0 0 31 1-3 *", { day: [31] }],
    ["0 0 29 2 *", { day: [29] }],
    ["@daily", { minute: [0], hour: [0] }],
    ["  0\t*/6 *  * * ", { hour: [0, 6, 12, 18] }],
  ])("%j is understood", (text, fields) => {
    const cron = parseCron(text);
    for (const [name, values] of Object.entries(fields)) {
      expect(cron).toHaveProperty([name, "values"], values);
    }
  });

  test("macros and blanks are written out as crontab(5) wants them", () => {
    expect(parseCron("@weekly")?.text).toBe("0 0 * * 0");
    expect(parseCron(" 0  1 * * * ")?.text).toBe("0 1 * * *");
  });

  test.each([
    ["", "1 fields instead of 5"],
    ["0 */6 * *", "4 fields instead of 5"],
    ["0 0 * * * root", "6 fields instead of 5"],
    ["60 * * * *", '"60" is not a minute from 0 to 59'],
    ["* 24 * * *", '"24" is not a hour from 0 to 23'],
    ["* * 0 * *", "day of the month from 1 to 31"],
    ["* * * 13 *", "month from 1 to 12"],
    ["* * * * 8", "day of the week from 0 to 7"],
    ["*/0 * * * *", "step that is not a number above 0"],
    ["*/x * * * *", "step that is not a number above 0"],
    ["5/10 * * * *", 'write "5-59/10"'],
    ["20-10 * * * *", "runs backwards"],
    ["1-2-3 * * * *", "is not a minute"],
    ["-1 * * * *", '"" is not a minute'],
    ["1,,2 * * * *", '"" is not a minute'],
    ["0 0 31 2 *", "no month"],
    ["0 0 30 feb *", "no month"],
    ["0 0 31 4,6,9,11 *", "no month"],
    ["@reboot", "is not one of @hourly"],
    ["@constructor", "is not one of @hourly"],
    ["every 6 hours a day", '"every" is not a minute'],
    ["0 0 * * *\nroot rm -rf /", "fields instead of 5"],
  ])("%j is refused, and why is said", (text, reason) => {
    expect(explainCron(text)).toContain(reason);
    expect(parseCron(text)).toBeNull();
  });

  test("a day that no month has is fine beside a weekday, because cron runs on either", () => {
    expect(explainCron("0 0 31 2 mon")).toBeNull();
  });
});
