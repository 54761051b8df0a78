/**
 * Of every session with the ledger. The planner takes tables of one row, which nobody has analyzed, for thousands, and
 * would have a statement compiled for a second that takes a millisecond.
 */
export const LEDGER_SESSION: Readonly<Record<string, string>> = { jit: "off" };

/**
 * Of a process that stays, which may be paused or cut off in the middle of a transaction: it keeps no account locked for
 * long, because whoever bills would wait for it.
 */
export const STAYING_SESSION: Readonly<Record<string, string>> = {
  ...LEDGER_SESSION,
  idle_in_transaction_session_timeout: "10000",
  tcp_user_timeout: "15000",
  tcp_keepalives_idle: "5",
  tcp_keepalives_interval: "5",
  tcp_keepalives_count: "3",
};

/**
 * The same for statements that are worth nothing without whoever waits for their answer: the server looks four times a
 * second whether he is still there, and ends what it does for nobody.
 */
export const ATTENDED_SESSION: Readonly<Record<string, string>> = {
  ...STAYING_SESSION,
  client_connection_check_interval: "250",
};
