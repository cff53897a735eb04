// The recipes as the command line uses them; a test passes its own.

/** Functions and schemas of src/recipes that commands call. */
export type Recipes = Pick<
  typeof import('../recipes/index.ts'),
  | 'Interrupted'
  | 'spinSchema'
  | 'sftSchema'
  | 'dpoSchema'
  | 'generateSchema'
  | 'evalSchema'
  | 'mergeSchema'
  | 'resumeSchema'
  | 'addedBaselinesSchema'
  | 'presets'
  | 'presetBelow'
  | 'playSpin'
  | 'addBaselines'
  | 'fineTune'
  | 'trainOnPairs'
  | 'mergeModel'
  | 'resumeRun'
  | 'verifyResume'
  | 'proofText'
  | 'compareRuns'
  | 'comparisonText'
  | 'generateAnswers'
  | 'answerLines'
  | 'evaluateModel'
  | 'diagnose'
  | 'diagnosisText'
>;
