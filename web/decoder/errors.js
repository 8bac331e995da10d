/** Every refusal of a file is this error, so that callers can tell a bad file from a bug or a failed download. */
export class StgvError extends Error {
  /**
   * @param {string} where the syntax element, stream or chunk, with its place in the file where one is known
   * @param {string} why what was found and what was expected
   */
  constructor(where, why) {
    super(`${where}: ${why}`);
    this.name = 'StgvError';
    /** @type {string} */
    this.where = where;
  }
}

/** Bytes that could not be had: there is no such file, or the server does not do as it says. The file may be intact. */
export class SourceError extends Error {
  /**
   * @param {string} where the address
   * @param {string} why what was found and what was expected
   */
  constructor(where, why) {
    super(`${where}: ${why}`);
    this.name = 'SourceError';
  }
}

/**
 * A valid file that asks for more memory or work than the caller allowed (section 11). It is not damaged.
 */
export class BudgetError extends StgvError {
  /**
   * @param {string} where what would be exceeded
   * @param {string} why what is needed and what is allowed
   */
  constructor(where, why) {
    super(where, why);
    this.name = 'BudgetError';
  }
}

/**
 * @param {string} where
 * @param {string} why
 * @returns {never}
 */
export function refuse(where, why) {
  throw new StgvError(where, why);
}

/**
 * @param {number} value an integer of at most 32 bits
 * @param {number} [digits] least number of hexadecimal digits
 * @returns {string}
 */
export function hex(value, digits = 1) {
  return `0x${(value >>> 0).toString(16).padStart(digits, '0')}`;
}
