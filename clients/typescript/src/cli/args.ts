import { type ParseArgsConfig, parseArgs } from "node:util";

/** The command line is wrong. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export type Options = NonNullable<ParseArgsConfig["options"]>;

/** Options that every command takes. */
const COMMON: Options = {
  url: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
};

/** The words of a command line, checked as they are read. */
export class Args {
  private constructor(
    private readonly values: Readonly<Record<string, unknown>>,
    private readonly positionals: readonly string[],
  ) {}

  /**
   * Parses the words that follow a command.
   *
   * @throws UsageError when there is an option that the command does not take
   */
  static parse(argv: readonly string[], options: Options): Args {
    try {
      const { values, positionals } = parseArgs({
        args: [...argv],
        options: { ...COMMON, ...options },
        allowPositionals: true,
      });
      return new Args(values, positionals);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      // What follows the first sentence is advice to programs.
      throw new UsageError(error.message.split(". ")[0]);
    }
  }

  flag(name: string): boolean {
    return this.values[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.values[name];
    return typeof value === "string" ? value : undefined;
  }

  required(name: string): string {
    const value = this.text(name);
    if (!value) throw new UsageError(`--${name} is required`);
    return value;
  }

  /** Reads `a,b,c`. */
  list(name: string): string[] {
    const items = (this.text(name) ?? "").split(",").map((item) => item.trim());
    return items.filter((item) => item !== "");
  }

  integer(name: string, least: number, most = Number.MAX_SAFE_INTEGER): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (/^-?\d+$/.test(text) && value >= least && value <= most) return value;
    const range = most === Number.MAX_SAFE_INTEGER ? `at least ${least}` : `${least} to ${most}`;
    throw new UsageError(`--${name} is a whole number, ${range}: got ${text}`);
  }

  /** Reads one of the names that something may have. */
  choice<K extends string>(name: string, choices: Readonly<Record<K, unknown>>): K | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : choose(`--${name}`, text, choices);
  }

  /** Returns the words that are no options: so many at least, so many at most. */
  words(least: number, most: number): readonly string[] {
    if (this.positionals.length >= least && this.positionals.length <= most) {
      return this.positionals;
    }
    const count = least === most ? `${least}` : `${least} to ${most}`;
    const plural = most === 1 ? "" : "s";
    throw new UsageError(`expected ${count} argument${plural}, got ${this.positionals.length}`);
  }
}

/**
 * Returns a name that is one of the choices.
 *
 * @throws UsageError that lists them
 */
export function choose<K extends string>(
  what: string,
  name: string,
  choices: Readonly<Record<K, unknown>>,
): K {
  if (Object.hasOwn(choices, name)) return name as K;
  throw new UsageError(
    `${what} is one of ${Object.keys(choices).join(", ")}: got ${name || "nothing"}`,
  );
}
