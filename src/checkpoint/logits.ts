// The whole forward pass as one graph: a model's logits at every position of one text.

import { type Graph, graphBuilder } from '../graph/index.ts';
import { type LanguageModel, logitsOf } from '../models/index.ts';

/** Inputs: ids, positions [tokens] and segments [segments,6], int32. Output: logits [tokens,V]. */
export function logitsGraph(model: LanguageModel): Graph {
  const b = graphBuilder();
  const segments = b.input('segments', ['segments', 6], 'i32');
  const [ids, positions] = [b.input('ids', ['tokens'], 'i32'), b.input('positions', ['tokens'], 'i32')];
  const hidden = model.hidden(b, ids, positions, (_, q, k, v, heads) => b.attention(q, k, v, segments, heads));
  b.output('logits', logitsOf(b, model, hidden));
  return b.build();
}
