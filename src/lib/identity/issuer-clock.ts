/**
 * Whoever issues a token dates it by a clock of his own, which may be ahead of ours by so many seconds. So a token that
 * was issued before a moment may name any time up to this much later.
 */
export const ISSUER_SKEW_SECONDS = 300;
