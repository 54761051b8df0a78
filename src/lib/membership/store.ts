import type {
  Authorization,
  Member,
  MembershipSnapshot,
  Operator,
  OperatorRole,
  OperatorStatus,
  Pool,
  SealedKey,
} from "./records.ts";

/** A change that must not race: it counts only where the pool's epoch is still the one that its maker saw. */
export interface Rekey {
  readonly pool: string;
  /** The epoch that it takes the place of. */
  readonly expectedEpoch: number;
  /** The new secret, sealed to every member that stays; at least one. */
  readonly sealed: readonly { readonly member: string; readonly sealed: string }[];
  /**
   * Members that are about to leave and get none. Whoever is a member besides must be in `sealed`: somebody may have been
   * added since its maker looked, and would be without the newest secret.
   */
  readonly without?: readonly string[];
}

/** How a snapshot is written over what is there. */
export interface ImportOptions {
  /** The state that whoever decided to do so has seen; whatever is there where it is left out. */
  readonly over?: MembershipSnapshot;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * The control plane's state. Two stores have it, and both behave as said here: one SQLite file, and NATS JetStream KV.
 * Every operation ends within the store's time limit (`controlPlane.timeout`); where the store does not answer it throws
 * FULA_CONTROL_PLANE_UNREACHABLE, and nothing is said of whether a write was done. Where there is no such record it throws
 * FULA_MEMBERSHIP_NOT_FOUND; whoever makes a record that is there already gets FULA_MEMBERSHIP_EXISTS; whoever comes
 * second with a change that must not race gets FULA_MEMBERSHIP_RACED, and has changed nothing.
 */
export interface MembershipStore extends AsyncDisposable {
  readonly kind: "sqlite" | "nats";

  /** A new pool has no secret yet: its epoch is 0. */
  createPool(pool: Pool): Promise<void>;
  getPool(id: string): Promise<Pool>;
  /** By id. */
  listPools(): Promise<readonly Pool[]>;
  /** Takes a pool away with its members and sealed keys. */
  deletePool(id: string): Promise<void>;

  /**
   * Adds a member, with the pool's secret of its present epoch sealed to it where the pool has one; older epochs may be
   * given too. The member has applied none of them yet, or says which.
   * @param sealed the member's sealed keys; must have one of the pool's present epoch, if that is above 0, else FULA_MEMBERSHIP_RACED
   */
  addMember(member: Member, sealed: readonly SealedKey[]): Promise<void>;
  getMember(pool: string, endpoint: string): Promise<Member>;
  /** By endpoint. */
  listMembers(pool: string): Promise<readonly Member[]>;
  /**
   * Takes a member out, with its sealed keys. It is for the caller to rekey first: see `removeMemberAndRekey`.
   * @param condition only where it has no sealed key of this epoch or a later one, else FULA_MEMBERSHIP_RACED: who was
   *   added again since the rekey knows the new secret
   */
  removeMember(pool: string, endpoint: string, condition?: { readonly withoutKeyFrom: number }): Promise<void>;
  /** Pools that a box belongs to, by id. */
  listPoolsFor(endpoint: string): Promise<readonly Pool[]>;
  /** Notes which epoch a box has put to use; never goes back, and never beyond the pool's own. */
  noteApplied(pool: string, endpoint: string, epoch: number): Promise<void>;

  /**
   * Raises the epoch by one, with the new secret sealed to those who stay. Another epoch than the expected one, or other
   * members than those of `sealed` and `without`, is FULA_MEMBERSHIP_RACED. @returns the pool as it is then
   */
  rekey(change: Rekey): Promise<Pool>;
  /** @param epoch the newest that is there for this member where it is left out */
  getSealedKey(pool: string, member: string, epoch?: number): Promise<SealedKey>;
  /** Of one pool, by epoch, then by member. */
  listSealedKeys(pool: string): Promise<readonly SealedKey[]>;

  /** Adds an operator. Ids are compared in their normal form, so one is not added twice in two spellings. */
  addOperator(operator: Operator): Promise<void>;
  getOperator(id: string): Promise<Operator>;
  /** By id. */
  listOperators(): Promise<readonly Operator[]>;
  /**
   * Changes role or status. The last active admin cannot be taken away: FULA_MEMBERSHIP_LAST_ADMIN.
   * @returns the operator as he is then
   */
  changeOperator(
    id: string,
    change: { readonly role?: OperatorRole; readonly status?: OperatorStatus },
  ): Promise<Operator>;
  /** True where there is an active admin. Throws where nobody can say. */
  hasAdmin(): Promise<boolean>;
  /**
   * Whether somebody may act as `role`; an admin may act as operator too. While there is no active admin, nobody may.
   * Never throws: no answer within the time limit, no quorum, or an answer that may be older than `controlPlane.maxAge` is
   * a denial that says so.
   */
  isAuthorized(id: string, role: OperatorRole): Promise<Authorization>;

  /** Everything, as of one moment where the store has such a thing. */
  exportSnapshot(): Promise<MembershipSnapshot>;
  /**
   * Writes every record as it stands in the snapshot, over what is there, and takes away what is not in it; run again after
   * an interruption, it ends in the same state. A snapshot that contradicts itself is FULA_MEMBERSHIP_INVALID.
   * Nothing that was written after `over` is written over: that is FULA_MEMBERSHIP_RACED.
   */
  importSnapshot(snapshot: MembershipSnapshot, options?: ImportOptions): Promise<void>;

  close(): Promise<void>;
}
