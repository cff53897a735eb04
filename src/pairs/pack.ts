/**
 * Packs prompts and their responses into one row of tokens without padding: prompt | response | response | …
 *
 * The prompt stands there once. Each response continues at the position after the prompt and sees the prompt and
 * itself (segment table: graph/ops.ts). The first response shares a segment with the prompt, since they are
 * neighbours. The last token of a response predicts nothing and is left out; its row of logits comes from the token
 * before it.
 */

/** One answer to a prompt, ending in its end token unless it was cut. */
export interface PackedResponse {
  readonly ids: Int32Array;
  /** Log-probs of `ids` under the opponent; absent where no loss asks for them. */
  readonly reference?: Float32Array;
}

/** A prompt with the responses that share its computation. */
export interface Group {
  readonly promptIds: Int32Array;
  readonly responses: readonly PackedResponse[];
  /** How much it counts in the loss; 1 where absent. */
  readonly weight?: number;
}

/** Tokens T, segments S, response rows R. */
export interface PackedTokens {
  /** [T] */
  readonly ids: Int32Array;
  /** [T] position of each token in its own conversation */
  readonly positions: Int32Array;
  /** [S, 6] */
  readonly segments: Int32Array;
  /** [R] the token whose output predicts the target */
  readonly rows: Int32Array;
  /** [R] the response token that is predicted */
  readonly targets: Int32Array;
  /** [R] which response (counted over all groups) the target belongs to */
  readonly responseOf: Int32Array;
  /** [R] log-prob of the target under the opponent, 0 where unknown */
  readonly reference: Float32Array;
  /** [responses] how much the group of each counts in the loss */
  readonly weights: Float32Array;
  /** Number of responses. */
  readonly responses: number;
}

/** How many tokens a group takes when packed. */
export function packedLength({ promptIds, responses }: Group): number {
  return responses.reduce((n, { ids }) => n + ids.length - 1, promptIds.length);
}

/** Every prompt and every response must have at least one token. */
export function packGroups(groups: readonly Group[]): PackedTokens {
  const tokens = groups.reduce((n, group) => n + packedLength(group), 0);
  const answers = groups.flatMap(({ responses }) => responses);
  const rowCount = answers.reduce((n, { ids }) => n + ids.length, 0);
  const packed = {
    ids: new Int32Array(tokens),
    positions: new Int32Array(tokens),
    rows: new Int32Array(rowCount),
    targets: new Int32Array(rowCount),
    responseOf: new Int32Array(rowCount),
    reference: new Float32Array(rowCount),
  };
  const segments: number[] = [];
  let token = 0;
  let row = 0;
  let response = 0;
  for (const { promptIds, responses } of groups) {
    const start = token;
    const promptEnd = start + promptIds.length;
    packed.ids.set(promptIds, start);
    for (let i = 0; i < promptIds.length; i++) packed.positions[start + i] = i;
    token = promptEnd;
    responses.forEach(({ ids, reference }, which) => {
      const from = token;
      const inputs = ids.subarray(0, ids.length - 1);
      packed.ids.set(inputs, from);
      inputs.forEach((_, i) => {
        packed.positions[from + i] = promptIds.length + i;
      });
      token += inputs.length;
      if (which === 0) segments.push(start, token, start, token, 0, 0);
      else if (inputs.length > 0) segments.push(from, token, start, promptEnd, from, token);
      packed.targets.set(ids, row);
      packed.responseOf.fill(response, row, row + ids.length);
      if (reference) packed.reference.set(reference, row);
      packed.rows[row] = promptEnd - 1;
      for (let i = 1; i < ids.length; i++) packed.rows[row + i] = from + i - 1;
      row += ids.length;
      response++;
    });
  }
  const weights = Float32Array.from(groups.flatMap(({ weight = 1, responses }) => responses.map(() => weight)));
  return { ...packed, segments: Int32Array.from(segments), weights, responses: response };
}

/**
 * Splits items into consecutive batches whose packed length stays within `budget` tokens; an item longer than the
 * budget gets a batch of its own.
 */
export function splitByTokens<T>(items: readonly T[], length: (item: T) => number, budget: number): T[][] {
  const batches: T[][] = [];
  let room = 0;
  for (const item of items) {
    const size = length(item);
    if (batches.length === 0 || size > room) {
      batches.push([]);
      room = budget;
    }
    batches.at(-1)!.push(item);
    room -= size;
  }
  return batches;
}
