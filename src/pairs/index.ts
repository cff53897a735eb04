/** The pairs of the game, and how they are packed. */
export { type Group, type PackedResponse, type PackedTokens, packedLength, packGroups, splitByTokens } from './pack.ts';
export { type Answer, censor, type Pair, pairGroup, type Sample, type ScoredPair } from './pairs.ts';
export {
  type Candidate,
  countsInWords,
  countVerdicts,
  DROPPED_BY_DEFAULT,
  judgePairs,
  REASONS,
  type Reason,
  reasons,
  type Verdict,
} from './reasons.ts';
