/** What the worker is started with. */
export interface WorkerSettings {
  readonly threads: number;
}
