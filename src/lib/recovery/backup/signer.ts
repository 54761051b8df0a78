/** The key by which this box signs its backups: that of its snapshots. */
export interface BackupSigner {
  readonly keyId: string;
  /** Raw ed25519, 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** Whose signatures count. */
export interface BackupTrust {
  /** True where that key is trusted here and made this signature. */
  isSignedBy(keyId: string, message: Uint8Array, signature: Uint8Array): boolean;
}
