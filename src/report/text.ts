// Numbers as people read them on a terminal: durations, counts, rates.

/** Seconds as "3.2 s", "42 s", "4 min 05 s" or "2 h 05 min"; at most two units. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '?';
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

/** An integer with separators: 1,234,567. Rounds. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** A rate or another positive quantity with three significant digits: 0.123, 4.56, 78.9, 1,235. */
export function formatRate(rate: number): string {
  if (!Number.isFinite(rate)) return '?';
  if (rate >= 99.95) return formatCount(rate);
  return rate.toFixed(rate >= 9.995 ? 1 : rate >= 0.9995 ? 2 : 3);
}
