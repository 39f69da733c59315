/** For patterns of `t.match`: matches only an empty array. The pattern `[]` matches every array. */
export const emptyArray = { length: 0 }
