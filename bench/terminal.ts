/** What the benches print: a line of progress that is written over on a terminal and kept elsewhere, and tables of figures. */

/** Where lines can't be written over, so seldom is one kept. */
const keepEveryMs = 15_000;

export class Progress {
  private lastKept = -Infinity;

  show(line: string): void {
    if (process.stdout.isTTY) {
      process.stdout.write(`\r\u001b[2K${line}`);
    } else if (performance.now() - this.lastKept > keepEveryMs) {
      this.lastKept = performance.now();
      console.log(line);
    }
  }

  /** The next line starts afresh. */
  end(): void {
    if (process.stdout.isTTY) process.stdout.write("\r\u001b[2K");
  }
}

/** Rows in columns as wide as they need. */
export function table(rows: (string | number)[][]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, String(cell).length)));
  const line = (row: (string | number)[]): string =>
    row
      .map((cell, column) =>
        typeof cell === "number" ? String(cell).padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}
