/** What a process's /metrics says, as Prometheus would read it. */

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export class Scrape {
  readonly samples: Sample[];

  constructor(readonly text: string) {
    const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    this.samples = lines.map((line) => {
      const [, name = "", labels = "", value] = /^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (value === undefined) throw new Error(`this is no sample: ${line}`);
      const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)];
      const inLabels = Object.fromEntries(pairs.map(([, label = "", text = ""]) => [label, text]));
      return { name, labels: inLabels, value: Number(value) };
    });
  }

  /** The samples of this name that have these labels. */
  all(name: string, labels: Record<string, string> = {}): Sample[] {
    const wanted = Object.entries(labels);
    return this.samples.filter(
      (sample) =>
        sample.name === `ledgerline_${name}` && wanted.every(([label, value]) => sample.labels[label] === value),
    );
  }

  /** Their sum: 0 where there are none. */
  sum(name: string, labels: Record<string, string> = {}): number {
    return this.all(name, labels).reduce((sum, { value }) => sum + value, 0);
  }

  /** Every name that a query may use: of the metrics that are described, whether they have values yet or not. */
  get names(): Set<string> {
    const described = [...this.text.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
    return new Set(
      described.flatMap(([, name = "", type]) =>
        type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
      ),
    );
  }
}

/** Throws where it is refused. */
export async function scrape({ url }: { url: string }, token?: string): Promise<Scrape> {
  const response = await fetch(`${url}/metrics`, {
    ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
  });
  if (!response.ok) throw new Error(`/metrics answered ${response.status}`);
  return new Scrape(await response.text());
}
