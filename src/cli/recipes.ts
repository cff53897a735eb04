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
  | 'presets'
  | 'presetBelow'
  | 'playSpin'
  | 'fineTune'
  | 'mergeModel'
  | 'resumeRun'
  | 'verifyResume'
  | 'proofText'
  | 'compareRuns'
  | 'comparisonText'
  | 'generateAnswers'
  | 'evaluateModel'
>;
