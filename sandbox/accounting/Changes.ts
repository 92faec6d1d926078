/** One element's or one call's changes, which can be taken back, and the events to announce once they stand. */
export interface Announcement {
  readonly category: string;
  readonly type: "CREATE" | "UPDATE";
  readonly resourceId: string;
  readonly data?: Readonly<Record<string, string>>;
}

export class Changes {
  readonly #undo: (() => void)[] = [];
  readonly #announcements: Announcement[] = [];

  /** Sets fields of a record; its former state comes back on rollback. */
  edit<T extends object>(record: T, fields: Partial<T>): void {
    const before = { ...record };
    Object.assign(record, fields);
    this.#undo.push(() => Object.assign(record, before));
  }

  put<K, V>(map: Map<K, V>, key: K, value: V): void {
    const before = map.get(key);
    map.set(key, value);
    this.#undo.push(() => (before === undefined ? map.delete(key) : map.set(key, before)));
  }

  remove<K, V>(map: Map<K, V>, key: K): void {
    const before = map.get(key);
    if (before === undefined) return;
    map.delete(key);
    this.#undo.push(() => map.set(key, before));
  }

  /** For what none of the above can express. */
  onRollback(undo: () => void): void {
    this.#undo.push(undo);
  }

  /** A record is announced once per call, as created where it was. */
  announce(announcement: Announcement): void {
    const same = this.#announcements.some(
      (one) => one.resourceId === announcement.resourceId && one.category === announcement.category,
    );
    if (!same) this.#announcements.push(announcement);
  }

  get announcements(): readonly Announcement[] {
    return this.#announcements;
  }

  rollback(): void {
    for (const undo of this.#undo.splice(0).reverse()) undo();
    this.#announcements.length = 0;
  }
}
