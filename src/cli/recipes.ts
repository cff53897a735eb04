// The recipes as the command line uses them; a test passes its own.

/** Functions and schemas of src/recipes that commands call. */
export type Recipes = Pick<
  typeof import('../recipes/index.ts'),
  | 'Interrupted'
  | 'spinSchema'
  | 'sftSchema'
  | 'generateSchema'
  | 'evalSchema'
  | 'mergeSchema'
  | 'resumeSchema'
  | 'playSpin'
  | 'fineTune'
  | 'mergeModel'
  | 'resumeRun'
  | 'preflightGame'
  | 'preflightText'
  | 'probe'
  | 'probeSchema'
  | 'probeText'
  | 'verifyResume'
  | 'proofText'
  | 'compareRuns'
  | 'comparisonText'
  | 'generateAnswers'
  | 'evaluateModel'
>;
