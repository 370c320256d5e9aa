import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Pulse } from "../../src/session/pulse.js";

const beat = vi.fn();
const silent = vi.fn();

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
  vi.resetAllMocks();
});

test("a heartbeat is sent at a third of the lease, never later and up to a fifth earlier", () => {
  for (const [random, due] of [
    [0, 4_000],
    [1, 5_000],
  ] as const) {
    beat.mockClear();
    const pulse = new Pulse(beat, silent, () => random);
    pulse.start(15_000);
    vi.advanceTimersByTime(due - 1);
    expect(beat).toHaveBeenCalledTimes(0);
    vi.advanceTimersByTime(1);
    expect(beat).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(due);
    expect(beat).toHaveBeenCalledTimes(2);
    pulse.stop();
  }
});

test("two thirds of the lease in silence are too long, and any sign of life ends the silence", () => {
  const pulse = new Pulse(beat, silent, () => 1);
  pulse.start(15_000);
  vi.advanceTimersByTime(9_900);
  pulse.heard();
  vi.advanceTimersByTime(10_000);
  expect(silent).not.toHaveBeenCalled();
  vi.advanceTimersByTime(100);
  expect(silent).toHaveBeenCalledExactlyOnceWith(10_000);
  pulse.stop();
});

test("what was read right after a busy event loop's timers still counts", () => {
  const pulse = new Pulse(beat, silent, () => 1);
  pulse.start(15_000);
  vi.advanceTimersByTime(10_000);
  pulse.heard();
  vi.advanceTimersByTime(9_999);
  expect(silent).not.toHaveBeenCalled();
  pulse.stop();
});

test("before the welcome the wait has its own length; stopped, it says nothing", () => {
  const pulse = new Pulse(beat, silent, () => 1);
  pulse.await(5_000);
  vi.advanceTimersByTime(5_100);
  expect(silent).toHaveBeenCalledExactlyOnceWith(5_000);
  pulse.start(15_000);
  pulse.stop();
  vi.advanceTimersByTime(100_000);
  expect(silent).toHaveBeenCalledOnce();
  expect(beat).not.toHaveBeenCalled();
});
